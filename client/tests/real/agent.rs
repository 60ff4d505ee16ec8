//! Agents for a shell, for a command, and under load when they are told to end.

use std::{
    fs,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use keyagent_client::{Address, Connection, Options};
use keyagent_common::{context::Context, name::KeyName};
use nix::sys::signal::{Signal, kill};

use super::place::{Place, gone};

const NO_CONTEXT: [u8; 2] = [0, 0];

#[test]
fn the_agent_of_a_command_lives_as_long_as_the_command() {
    let place = Place::initialized();
    let script = "printf secret | keyagent encrypt | keyagent decrypt; test -S \"$KEYAGENT_SOCK\"; exit 7";
    let done = place.run(&["start", "--", "sh", "-euc", script], b"");
    assert_eq!((done.code, &done.stdout[..]), (7, &b"secret"[..]), "{}", done.stderr);
    place.run(&["status"], b"").refused(69, "AGENT_UNREACHABLE");
    for (words, code) in [
        (&["start", "--", "true"][..], 0),
        (&["start", "--", "sh", "-c", "kill -TERM $$"], 143),
        (&["start", "--", "no-such-program"], 127),
        (&["start", "--", "/etc/passwd"], 126),
    ] {
        assert_eq!(place.run(words, b"").code, code, "{words:?}");
        assert_eq!(place.run(&["status"], b"").code, 69, "{words:?}: the agent goes on");
    }
    assert_eq!(
        place.run(&["start", "--", "cat"], b"input goes through").expect(0).stdout,
        b"input goes through"
    );
    let secret = "test -z \"${KEYAGENT_KEY-}\"";
    let mut command = place.keyagent(&["start", "--", "sh", "-c", secret]);
    command.env("KEYAGENT_KEY", fs::read_to_string(place.key()).unwrap().trim());
    super::place::run(command, b"").expect(0);
}

#[test]
fn an_agent_that_ran_before_a_command_runs_after_it() {
    let place = Place::started();
    place.run(&["start", "--", "keyagent", "health"], b"").expect(0);
    place.run(&["status"], b"").expect(0);
}

#[test]
fn a_shell_takes_its_agent_from_start() {
    let place = Place::initialized();
    let script = "eval \"$(keyagent start -s)\"; kill -0 $KEYAGENT_PID; unset XDG_RUNTIME_DIR\n\
                  printf secret | keyagent encrypt -a > value; keyagent decrypt value; echo\n\
                  eval \"$(keyagent start -k)\"; test -z \"${KEYAGENT_SOCK-}${KEYAGENT_PID-}\"";
    let done = place.sh(script).expect(0);
    let lines: Vec<String> = done.text().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("Agent pid ") && lines[1] == "secret", "{lines:?}");
    assert!(lines[2].ends_with(" killed"), "{lines:?}");
    assert_eq!(place.run(&["status"], b"").code, 69);
}

#[test]
fn many_starts_at_once_make_one_agent() {
    let place = Arc::new(Place::initialized());
    for _ in 0..5 {
        let barrier = Arc::new(Barrier::new(6));
        let starts: Vec<_> = (0..6)
            .map(|_| {
                let (place, barrier) = (Arc::clone(&place), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    place.run(&["start", "--json"], b"").expect(0).line()
                })
            })
            .collect();
        let said: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        let pid = format!("\"pid\":{},", place.pid());
        assert!(said.iter().all(|line| line.contains(&pid)), "{said:?}");
        place.run(&["stop"], b"").expect(0);
    }
}

#[test]
fn stop_and_start_in_a_row_never_meet() {
    let place = Place::started();
    for round in 0..15 {
        let done = place.sh("keyagent stop -q; keyagent start -q; printf x | keyagent encrypt > value");
        assert_eq!(done.code, 0, "round {round}: {}", done.stderr);
    }
}

/// Seals numbers until the agent is gone; those that were acknowledged.
fn seal_until_the_end(place: &Place, thread: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let address = Address::exactly(place.socket()).unwrap();
    let Ok(mut connection) = Connection::open(&address, Options::default()) else { return Vec::new() };
    let context = Context::parse(&NO_CONTEXT).unwrap();
    let mut acknowledged = Vec::new();
    for number in 0_u32.. {
        let plain = [thread.to_le_bytes(), number.to_le_bytes()].concat();
        match connection.encrypt(KeyName::DEFAULT, context, &plain) {
            Ok(sealed) => acknowledged.push((plain, sealed)),
            Err(error) => {
                assert!([69, 74, 75].contains(&error.exit_code()), "{error:?}");
                break;
            }
        }
    }
    acknowledged
}

fn ends_under_load(signal: Signal) {
    let place = Arc::new(Place::started());
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let place = Arc::clone(&place);
            thread::spawn(move || seal_until_the_end(&place, number))
        })
        .collect();
    thread::sleep(Duration::from_millis(400));
    let pid = place.pid();
    kill(pid, signal).unwrap();
    assert!(gone(pid, Duration::from_secs(10)));
    let acknowledged: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let log = fs::read_to_string(place.state().join("audit.log")).unwrap();
    let recorded = log.matches("\"event_type\":\"encrypt\"").count();
    assert!(recorded >= acknowledged.len(), "{recorded} lines, {} answers", acknowledged.len());
    place.run(&["start"], b"").expect(0);
    let mut connection =
        Connection::open(&Address::exactly(place.socket()).unwrap(), Options::default()).unwrap();
    let context = Context::parse(&NO_CONTEXT).unwrap();
    for (plain, sealed) in acknowledged.iter().step_by(acknowledged.len() / 500 + 1) {
        assert_eq!(&connection.decrypt(context, sealed).unwrap()[..], plain);
    }
}

#[test]
fn what_was_acknowledged_before_sigterm_is_recorded_and_opens() {
    ends_under_load(Signal::SIGTERM);
}

#[test]
fn what_was_acknowledged_before_sigkill_is_recorded_and_opens() {
    ends_under_load(Signal::SIGKILL);
}

#[test]
fn commands_under_load_either_answer_or_fail_when_the_agent_ends() {
    let place = Place::started();
    let script = "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); [ $i = 20 ] && kill -TERM $(cat pid)\n\
                  code=0; printf secret | keyagent encrypt -a > out 2>/dev/null || code=$?\n\
                  case $code in 0) cat out >> good ;; 69|75) [ ! -s out ] ;; *) exit $code ;; esac; done\n\
                  keyagent start -q; while read -r value; do [ \"$(echo $value | keyagent decrypt)\" = secret ]; done < good; wc -l < good";
    fs::write(place.work("pid"), place.pid().to_string()).unwrap();
    let good: usize = place.sh(script).expect(0).line().parse().unwrap();
    assert!(good >= 19, "{good}");
}
