//! What people type by mistake, and surroundings that are not as usual.

use std::{
    fs,
    os::unix::{ffi::OsStringExt, process::CommandExt},
};

use super::place::{Place, noise, run};

#[test]
fn contexts_of_every_kind_bind_and_come_back() {
    let place = Place::started();
    let longest = format!("blob={}", "x".repeat(4096));
    let sixteen: Vec<String> = (0..16).flat_map(|n| ["-c".to_owned(), format!("name{n}=v")]).collect();
    for context in [
        vec!["-c", "a="],
        vec!["-c", "a=b=c"],
        vec!["-c", "name=Zoë 日本 😀\n\t"],
        vec!["-c", "a=-x"],
        vec!["-c", &longest],
        sixteen.iter().map(String::as_str).collect(),
    ] {
        let sealed = place.run(&[&["encrypt"], &context[..]].concat(), b"secret").expect(0).stdout;
        let opened = place.run(&[&["decrypt"], &context[..]].concat(), &sealed).expect(0);
        assert_eq!(opened.stdout, b"secret", "{context:?}");
        place.run(&["decrypt"], &sealed).refused(65, "DOES_NOT_OPEN");
    }
    // Composed and decomposed letters are two values: nothing is normalised.
    let sealed = place.run(&["encrypt", "-c", "n=\u{e9}"], b"secret").expect(0).stdout;
    place.run(&["decrypt", "-c", "n=e\u{301}"], &sealed).refused(65, "DOES_NOT_OPEN");
    let mut command = place.keyagent(&["encrypt", "-c"]);
    command.arg(std::ffi::OsString::from_vec(b"raw=\xff\xfe".to_vec()));
    run(command, b"secret").expect(0);
}

#[test]
fn contexts_and_keys_that_cannot_be_are_usage_errors() {
    let place = Place::started();
    let (long, many) = ("v".repeat(4097), format!("{}=v", "n".repeat(65)));
    let seventeen: Vec<String> = (0..17).flat_map(|n| ["-c".to_owned(), format!("name{n}=v")]).collect();
    let huge: Vec<String> =
        (0..3).flat_map(|n| ["-c".to_owned(), format!("n{n}={}", "x".repeat(4000))]).collect();
    for words in [
        vec!["-c", ""],
        vec!["-c", "="],
        vec!["-c", "=v"],
        vec!["-c", "A=v"],
        vec!["-c", "a b=v"],
        vec!["-c", "a=1", "-c", "a=1"],
        vec!["-c", &many],
        vec!["-c", &format!("a={long}")],
        seventeen.iter().map(String::as_str).collect(),
        huge.iter().map(String::as_str).collect(),
        vec!["-k", ""],
        vec!["-k", "/"],
        vec!["-k", "a//b"],
        vec!["-k", ".."],
        vec!["-k", "Ä"],
        vec!["-k", &"k".repeat(129)],
    ] {
        for verb in ["encrypt", "decrypt"] {
            place.run(&[&[verb], &words[..]].concat(), b"secret").refused(64, "USAGE");
        }
    }
    place.run(&["encrypt", "-k", "nobody"], b"secret").refused(79, "UNKNOWN_KEY");
}

#[test]
fn odd_file_names() {
    let place = Place::started();
    for name in ["-", "-o", "a b", "ä€😀", "new\nline", ".hidden", "--help", "*"] {
        fs::write(place.work(name), "secret").unwrap();
        let path = format!("./{name}");
        place.run(&["encrypt", &path, "-o", "out"], b"other").expect(0);
        assert_eq!(place.run(&["decrypt", "out"], b"").expect(0).stdout, b"secret", "{name:?}");
        place.run(&["encrypt", "--output", "out", "--force", "--", &path], b"").expect(0);
        let done = place.run(&["encrypt", &path, "-o", "out"], b"").refused(73, "CANNOT_CREATE");
        assert!(!done.stderr.contains('\u{1b}'));
        fs::remove_file(place.work("out")).unwrap();
        fs::remove_file(place.work(name)).unwrap();
    }
    let done = place.run(&["encrypt", "no\u{1b}[2Jsuch.txt"], b"").refused(66, "INPUT_MISSING");
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
    for words in [&["encrypt", ""][..], &["encrypt", "-o", ""], &["--socket", "", "status"]] {
        let done = place.run(words, b"x").expect(64);
        assert!(done.stderr.contains("a value is required"), "{words:?}: {}", done.stderr);
    }
}

#[test]
fn closed_standard_descriptors() {
    let place = Place::started();
    place.sh("printf secret | keyagent encrypt -o value").expect(0);
    // Rust opens /dev/null in the place of a closed descriptor, so these read and write nothing.
    for (script, code) in [
        ("keyagent decrypt value >&-", 0),
        ("keyagent decrypt -o out <&-", 65),
        ("keyagent status >&-", 0),
        ("keyagent decrypt value > /dev/full", 74),
        ("keyagent status > /dev/full", 74),
        ("keyagent version > /dev/full", 74),
        ("keyagent --help > /dev/full", 74),
        ("keyagent help exit-codes > /dev/full", 74),
    ] {
        let done = place.sh(script);
        assert_eq!(done.code, code, "{script}: {}", done.stderr);
        assert!(done.stdout.is_empty());
        done.expect(code);
    }
    for script in
        ["keyagent decrypt value 2>&-", "keyagent decrypt value <&-", "keyagent decrypt value <&- 2>&-"]
    {
        assert_eq!(place.sh(script).expect(0).stdout, b"secret", "{script}");
    }
    for script in ["keyagent encrypt missing.txt 2>&-", "keyagent encrypt missing.txt 2>/dev/full"] {
        assert_eq!(place.sh(script).code, 66, "{script}");
    }
    assert_eq!(fs::read_dir(place.path("work")).unwrap().count(), 1);
    place.sh("keyagent stop <&- >&- 2>&-; keyagent start <&- >&- 2>&-").expect(0);
    assert_eq!(place.sh("keyagent decrypt value").expect(0).stdout, b"secret");
}

#[test]
fn start_lets_go_of_pipes() {
    let place = Place::initialized();
    // A daemon that kept the pipe open would let `cat` wait for ever.
    place.sh("keyagent start 2>&1 | cat; keyagent stop -q; x=$(keyagent start -s); printf x | keyagent encrypt > v").expect(0);
}

#[test]
fn without_home_and_runtime_folder() {
    let place = Place::initialized();
    let with = |variables: &[(&str, Option<&str>)], words: &[&str]| {
        let mut command = place.keyagent(words);
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        run(command, b"")
    };
    // No runtime folder: the socket lies with the state, and is found there.
    for runtime in [None, Some(""), Some("relative/folder"), Some("/proc/no/such/folder")] {
        let variables = [("XDG_RUNTIME_DIR", runtime)];
        let started = with(&variables, &["start"]);
        assert_eq!(started.code, 0, "{runtime:?}: {}", started.stderr);
        assert!(!started.stderr.contains("relative/folder"), "{}", started.stderr);
        with(&variables, &["status"]).expect(0);
        with(&variables, &["stop"]).expect(0);
    }
    let long = place.path("r".repeat(120));
    fs::create_dir(&long).unwrap();
    let done = with(&[("XDG_RUNTIME_DIR", long.to_str())], &["start"]);
    assert!(done.code == 78 && done.stderr.contains("107"), "{done:?}");
    with(&[("KEYAGENT_TIMEOUT", Some("soon"))], &["status"]).refused(78, "CONFIGURATION");
    assert_eq!(with(&[("TERM", None), ("LANG", Some("tlh"))], &["version"]).expect(0).code, 0);
    // Nobody's home: a user without an account and without HOME.
    if nix::unistd::geteuid().is_root() {
        let mut command = place.keyagent(&["status"]);
        command.env_remove("HOME").env_remove("XDG_RUNTIME_DIR").uid(4243).gid(4243).current_dir("/");
        run(command, b"").refused(69, "AGENT_UNREACHABLE");
        let mut command = place.keyagent(&["start"]);
        command.env_remove("HOME").env_remove("XDG_RUNTIME_DIR").uid(4243).gid(4243).current_dir("/");
        run(command, b"").refused(78, "CONFIGURATION");
    }
}

#[test]
fn a_working_folder_that_is_gone_and_odd_umasks() {
    let place = Place::started();
    fs::write(place.work("plain"), noise(100)).unwrap();
    place.sh("mkdir gone; cd gone; rmdir ../gone; printf x | keyagent encrypt | keyagent decrypt").expect(0);
    for mask in ["000", "027", "077"] {
        let script = format!(
            "rm -f out back; umask {mask}; keyagent encrypt plain -o out; stat -c %a out; keyagent decrypt out -o back; stat -c %a back"
        );
        let done = place.sh(&script).expect(0);
        let modes: Vec<&str> = std::str::from_utf8(&done.stdout).unwrap().lines().collect();
        assert_eq!(modes, ["600", "600"], "{mask}");
    }
}
