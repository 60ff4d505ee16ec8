//! The worked example of docs/POLICY.md: what it shows is what is answered, byte for byte.

use std::fs;

use super::place::{Place, chmod, repository};

/// Who stands in the example, and by what number where the accounts do not exist.
const ACCOUNTS: [(&str, &str); 2] = [("ana", "2001"), ("mailer", "2002")];
const FILE: &str = "/etc/keyagent/config.toml";

#[test]
fn the_example_answers_what_the_document_shows() {
    let text = fs::read_to_string(repository("docs/POLICY.md")).unwrap();
    let place = Place::new();
    let file = place.work("config.toml");
    let mut policy = blocks(&text, "toml").remove(0);
    for (name, number) in ACCOUNTS {
        let before = policy.clone();
        policy = policy.replace(&format!("users = [\"{name}\"]"), &format!("uids = [{number}]"));
        assert_ne!(policy, before, "{name} is in the example");
    }
    fs::write(&file, policy).unwrap();
    let mut count = 0;
    for block in blocks(&text, "console") {
        for example in block.split("$ ").skip(1) {
            let (typed, shown) = example.split_once('\n').unwrap();
            let mut command = typed.replace(FILE, &file.display().to_string());
            for (name, number) in ACCOUNTS {
                command = command.replace(&format!("--user {name} "), &format!("--uid {number} "));
            }
            let done = place.sh(&format!("export KEYAGENT_CONFIG={}; {command}", file.display()));
            let told = format!("{}{}", done.text(), done.stderr).replace(&file.display().to_string(), FILE);
            assert_eq!(told, shown, "{typed}");
            let expected =
                if shown.starts_with("denied") { 1 } else { 78 * i32::from(shown.contains("code 78")) };
            assert_eq!(done.code, expected, "{typed}");
            count += 1;
        }
    }
    assert_eq!(count, 7);
}

#[test]
fn a_system_file_that_is_nobodys_business_is_left_out_by_others() {
    if !super::sandbox::users("a system file that is nobody's business")
        || !super::sandbox::mounts("the same")
    {
        return;
    }
    let place = Place::new();
    let folder = place.path("etc");
    fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o755);
    fs::write(folder.join("config.toml"), "[lock]\nidle = \"5m\"\n").unwrap();
    super::sandbox::give_to_stranger(&place);
    // A mount of its own over /etc, so that this machine's files stay as they are.
    let script = "mkdir -p $HOME/upper $HOME/lower; mount -t tmpfs none $HOME/lower\n\
                  cp -a /etc/passwd /etc/group $HOME/lower/; mkdir $HOME/lower/keyagent\n\
                  cp $HOME/etc/config.toml $HOME/lower/keyagent/; chown -R 0:0 $HOME/lower/keyagent\n\
                  chmod 755 $HOME/lower $HOME/lower/keyagent; chmod $MODE $HOME/lower/keyagent/config.toml\n\
                  mount --bind $HOME/lower /etc\n\
                  exec setpriv --reuid 4242 --regid 4242 --clear-groups \"$HOME/bin/keyagent\" config list --show-origin";
    for (mode, shown, warned) in [("644", "/etc/keyagent/config.toml:2", false), ("600", "default", true)] {
        let mut command = super::sandbox::unshared(&place, script);
        command.env("MODE", mode);
        let done = super::place::run(command, b"").expect(0);
        let idle = done.text().lines().find(|line| line.starts_with("lock.idle")).unwrap().to_owned();
        assert!(idle.ends_with(shown), "{mode}: {idle}");
        assert_eq!(done.stderr.contains("cannot be read and is left out"), warned, "{mode}: {}", done.stderr);
    }
}

/// The code blocks of this language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}
