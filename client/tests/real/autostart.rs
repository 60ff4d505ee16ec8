//! An agent that starts because a command needs it. Never in a container, so these hide its marks.

use super::{
    place::{Done, Place, run},
    sandbox::outside_container,
};

fn outside(place: &Place, test: &str, script: &str) -> Option<Done> {
    let mut command = outside_container(place, test, script)?;
    command.env_remove("KEYAGENT_AUTOSTART");
    Some(run(command, b""))
}

#[test]
fn without_a_key_it_says_init() {
    let place = Place::new();
    let Some(done) = outside(&place, "without_a_key_it_says_init", "printf secret | keyagent encrypt -a")
    else {
        return;
    };
    let text = &done.stderr;
    assert!(
        text.contains("  fix    keyagent init") && text.contains(".config/keyagent/key   no such file"),
        "{text}"
    );
    assert!(done.stdout.is_empty());
    done.refused(78, "KEY_MISSING");
    assert!(!place.path(".config").exists() && !place.path(".local").exists(), "something was made");
}

#[test]
fn a_first_use_starts_one_and_later_ones_use_it() {
    let place = Place::initialized();
    let script = "printf secret | keyagent encrypt -a > value; keyagent decrypt value; keyagent status > /dev/null\n\
                  keyagent stop -q; keyagent decrypt value; keyagent stop -q\n\
                  code=0; keyagent --no-autostart decrypt value || code=$?; echo $code\n\
                  code=0; KEYAGENT_AUTOSTART=0 keyagent decrypt value || code=$?; echo $code\n\
                  code=0; keyagent --socket \"$HOME/run/x.sock\" decrypt value || code=$?; echo $code\n\
                  code=0; INVOCATION_ID=1 keyagent decrypt value || code=$?; echo $code\n\
                  code=0; keyagent status || code=$?; echo $code";
    let Some(done) = outside(&place, "a_first_use_starts_one_and_later_ones_use_it", script) else { return };
    assert_eq!(done.text(), "secretsecret69\n69\n69\n69\n69\n", "{}", done.stderr);
    for why in ["--no-autostart", "KEYAGENT_AUTOSTART=0", "a socket is named", "this is a systemd unit"] {
        assert!(done.stderr.contains(&format!("  start  not automatic: {why}\n")), "{why}: {}", done.stderr);
    }
    done.expect(0);
}

#[test]
fn clients_that_start_one_at_once_all_succeed() {
    let place = Place::initialized();
    let script = "printf secret > plain; round=0; while [ $round -lt 4 ]; do round=$((round + 1)); pids=\n\
                  for n in 1 2 3 4 5 6; do keyagent encrypt -f plain -o out$n & pids=\"$pids $!\"; done\n\
                  for pid in $pids; do wait $pid; done\n\
                  for n in 1 2 3 4 5 6; do [ \"$(keyagent decrypt out$n)\" = secret ]; done; keyagent stop -q; done; echo good";
    let Some(done) = outside(&place, "clients_that_start_one_at_once_all_succeed", script) else { return };
    assert_eq!(done.text(), "good\n", "{}", done.stderr);
    done.expect(0);
}

#[test]
fn what_the_daemon_says_when_it_does_not_start_is_passed_on() {
    let place = Place::initialized();
    let script = "chmod 644 ~/.config/keyagent/key; printf secret | keyagent encrypt -a";
    let test = "what_the_daemon_says_when_it_does_not_start_is_passed_on";
    let Some(done) = outside(&place, test, script) else { return };
    assert!(done.stderr.contains("mode 0644") && done.stdout.is_empty(), "{done:?}");
    done.refused(77, "KEY_PERMISSIONS");
}
