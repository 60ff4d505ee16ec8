//! Who a caller is (rows 3 to 6): groups, unit and door by the kernel's word; whatever a caller says, names or
//! passes on changes nothing.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    process::{Child, Command, Stdio},
};

use keyagent_sys::peer;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{FOREIGN, open_for_all, refusals, told::Told};
use crate::{
    helper::{Treatment, probe},
    support::{Home, am_root, client, eventually, have, log, skipped, slice::Slice},
};

fn refusal(home: &Home, uid: u32) -> Value {
    let mut lines = log::lines(home).into_iter();
    let of_uid =
        |line: &Value| line["event_type"] == "peer.refused" && line["metadata"]["uid"] == u64::from(uid);
    lines.find(of_uid).unwrap_or_else(|| panic!("uid {uid} was not refused"))["metadata"].clone()
}

#[test]
fn the_unit_is_the_system_managers() {
    let Some(slice) = Slice::new("the_unit_is_the_system_managers") else { return };
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    let cases = [
        ("x.service", Some("x.service")),
        ("deeper.slice/inst@a-b\\x2dc.service/payload/y.service", Some("inst@a-b\\x2dc.service")),
        ("user-7.slice/user@7.service/app.slice/x.service", Some("user@7.service")),
        ("plain/x.service", None),
    ];
    for (uid, (group, _)) in (FOREIGN..).zip(cases) {
        // The second time the daemon need not look at the path.
        for _ in 0..2 {
            let mut told = Told::start(daemon.socket(), uid, uid);
            slice.put(told.pid(), group);
            assert_eq!(told.tell("connect"), "connected");
            assert_eq!(told.tell("ask"), "refused");
        }
    }
    daemon.terminate();
    for (uid, (group, unit)) in (FOREIGN..).zip(cases) {
        let metadata = refusal(&home, uid);
        assert_eq!(metadata["unit"].as_str(), unit, "{group}");
        assert_eq!(metadata["socket"], "agent");
    }
}

/// A process of the owner that has this number, if nobody else takes it first.
fn take_number(number: u32) -> Option<Child> {
    for _ in 0..50 {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).ok()?;
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().ok()?;
        if child.id() == number {
            return Some(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    None
}

#[test]
fn a_number_used_again_gives_nobody_a_unit() {
    const NAME: &str = "a_number_used_again_gives_nobody_a_unit";
    let Some(slice) = Slice::new(NAME) else { return };
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    daemon.signal(Signal::SIGSTOP);
    // Its connection waits in the queue when it is gone.
    let mut told = Told::start(daemon.socket(), FOREIGN, FOREIGN);
    slice.put(told.pid(), "first.service");
    assert_eq!(told.tell("connect"), "connected");
    let number = told.pid();
    told.end();
    let second = take_number(number);
    if let Some(second) = &second {
        slice.put(second.id(), "second.service");
    } else {
        skipped(NAME, "the number could not be had again; tried with a process that is only gone");
    }
    daemon.signal(Signal::SIGCONT);
    eventually("the refusal", || daemon.client().status("denied") == "1");
    daemon.terminate();
    assert_eq!(refusal(&home, FOREIGN).get("unit"), None);
    if let Some(mut second) = second {
        // Control: the number did lead to a unit all the time.
        let text = fs::read_to_string(format!("/proc/{number}/cgroup")).unwrap();
        assert!(text.contains("second.service"), "{text}");
        second.kill().unwrap();
        second.wait().unwrap();
    }
}

/// Somebody who connects to this test, and the supplementary groups by the kernel's word.
fn groups_of(wrapper: &[&str]) -> Option<Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    crate::support::chmod(folder.path(), 0o755);
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    crate::support::chmod(&path, 0o666);
    let mut told = Told::through(wrapper, &path);
    if told.tell("connect") != "connected" {
        return None;
    }
    let (served, _) = listener.accept().unwrap();
    let mut groups = peer::groups(served.as_fd()).unwrap();
    groups.sort_unstable();
    Some(groups)
}

#[test]
fn groups_are_those_held_not_those_listed() {
    const NAME: &str = "groups_are_those_held_not_those_listed";
    if !am_root() || !have("setpriv") {
        return skipped(NAME, "needs root and setpriv");
    }
    assert_eq!(groups_of(&["setpriv", "--groups=54399,7,8"]).unwrap(), [7, 8, 54_399]);
    assert_eq!(groups_of(&["setpriv", "--clear-groups"]).unwrap(), [0; 0]);
    // Where /etc/group makes uid 0 a member of a group that the process does not hold.
    let folder = tempfile::tempdir().unwrap();
    let listed = folder.path().join("group");
    fs::write(&listed, "root:x:0:\nlisted:x:54399:root\n").unwrap();
    let script = format!("mount --bind '{}' /etc/group && exec \"$@\"", listed.display());
    let in_private = ["unshare", "-m", "sh", "-c", script.as_str(), "sh"];
    let id = Command::new("unshare").args(&in_private[1..]).args(["id", "-G", "root"]).output();
    if !id.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("54399")) {
        return skipped(NAME, "cannot put another /etc/group in place");
    }
    let held = |arguments: &[&str]| groups_of(&[&in_private[..], arguments].concat()).unwrap();
    assert_eq!(held(&["setpriv", "--clear-groups"]), [0; 0]);
    assert_eq!(
        held(&["setpriv", "--init-groups", "--reuid=0"]),
        [0, 54_399],
        "control: the list is believed by who asks it"
    );
}

#[test]
fn the_overflow_group_is_nobodys() {
    const NAME: &str = "the_overflow_group_is_nobodys";
    if !am_root() || !have("setpriv") {
        return skipped(NAME, "needs root and setpriv");
    }
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    let overflow = peer::overflow_ids().1;
    // As primary group it makes even the owner a stranger; as one of many it is left out.
    assert_eq!(probe(daemon.socket(), &[], 0, overflow), Treatment::Refused);
    let among = format!("--groups={overflow},7");
    assert_eq!(probe(daemon.socket(), &["setpriv", &among], 0, 0), Treatment::Served);
    daemon.terminate();
    assert_eq!(refusals(&home, 0), 1);
}

#[test]
fn a_forged_message_changes_nobody() {
    if !am_root() {
        return skipped("a_forged_message_changes_nobody", "needs root to become another user");
    }
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    let mut stranger = Told::start(daemon.socket(), FOREIGN, FOREIGN);
    assert_eq!(stranger.tell("connect"), "connected");
    // The kernel does not even carry it.
    assert_eq!(stranger.tell("forge 0"), "EPERM");
    assert_eq!(stranger.tell("ask"), "refused");
    // Root may say anything; it stays who it is.
    let mut owner = Told::start(daemon.socket(), 0, 0);
    assert_eq!(owner.tell("connect"), "connected");
    assert_eq!(owner.tell(&format!("forge {FOREIGN}")), "sent");
    assert_eq!(owner.tell("ask"), "served");
    assert_eq!(owner.tell("encrypt"), "served");
    daemon.terminate();
    assert_eq!(refusals(&home, FOREIGN), 1);
    let lines = log::lines(&home);
    let encrypt = lines.iter().find(|line| line["event_type"] == "encrypt").unwrap();
    assert_eq!(encrypt["user_id"], "0");
}

#[test]
fn a_name_that_looks_like_a_credential_is_only_a_name() {
    if !am_root() {
        return skipped(
            "a_name_that_looks_like_a_credential_is_only_a_name",
            "needs root to become another user",
        );
    }
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    let folder = tempfile::tempdir().unwrap();
    crate::support::chmod(folder.path(), 0o777);
    let names = [
        "@x;uid=0;gid=0;pid=1".to_owned(),
        "@deadbeef/unit/sshd.service/key".to_owned(),
        folder.path().join("uid=0;unit=sshd.service").display().to_string(),
    ];
    for name in &names {
        let mut stranger = Told::start(daemon.socket(), FOREIGN, FOREIGN);
        assert_eq!(stranger.tell(&format!("connect-as {name}")), "connected");
        assert_eq!(stranger.tell("ask"), "refused", "{name}");
        // The name of an owner does no harm either.
        let mut owner = Told::start(daemon.socket(), 0, 0);
        let name = name.replace("uid=0", "uid=54321").replace("deadbeef", "deadbeee");
        assert_eq!(owner.tell(&format!("connect-as {name}")), "connected");
        assert_eq!(owner.tell("ask"), "served", "{name}");
    }
    daemon.terminate();
    assert_eq!(refusals(&home, FOREIGN), names.len() as u64);
    assert_eq!(refusals(&home, 0), 0);
    assert!(refusal(&home, FOREIGN).get("unit").is_none_or(|unit| unit != "sshd.service"));
}

#[test]
fn a_connection_passed_on_is_served_as_who_made_it() {
    if !am_root() {
        return skipped(
            "a_connection_passed_on_is_served_as_who_made_it",
            "needs root to become another user",
        );
    }
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    // The owner's connection is the stranger's standard input and output.
    let mut connection = UnixStream::connect(daemon.socket()).unwrap();
    connection.write_all(&client::hello(1)).unwrap();
    assert_eq!(connection.read(&mut [0; 1]).unwrap(), 1);
    let file = home.join("frame");
    fs::write(&file, client::encrypt(2, b"by a stranger")).unwrap();
    let output = OwnedFd::from(connection.try_clone().unwrap());
    let sent = Command::new("cat")
        .stdin(fs::File::open(&file).unwrap())
        .stdout(output)
        .uid(FOREIGN)
        .gid(FOREIGN)
        .status();
    assert!(sent.unwrap().success());
    eventually("its record", || log::count(&log::unverified_lines(&home), "encrypt") == 1);
    daemon.terminate();
    let lines = log::lines(&home);
    let encrypt = lines.iter().find(|line| line["event_type"] == "encrypt").unwrap();
    // Documented: the connection is the credential, and it was given away by the one who is recorded.
    assert_eq!(encrypt["user_id"], "0");
    assert_eq!(encrypt["metadata"]["pid"], std::process::id());
    assert_eq!(refusals(&home, FOREIGN), 0);
}
