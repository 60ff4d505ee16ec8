//! Disks of ten sizes, filled with keys until no more fit: refused with a clear error, nothing lost, and with more
//! room everything goes on, in the same daemon and in the next.

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{KeyCreate, KeyCreateRequest},
};

use crate::support::{
    Client, Home,
    agent::{MESSAGE, words},
    am_root, assert_no_failure, finish,
    recovery::start,
    skipped,
    small_disk::SmallDisk,
};

/// Room for everything.
const MORE_KILOBYTES: u32 = 4096;

/// Makes keys, each with a value, until one is refused.
fn fill(client: &mut Client, values: &mut Vec<(String, Vec<u8>)>) {
    for number in 0.. {
        assert!(number < 2000, "it is never full");
        let key = format!("key-{}", values.len());
        let made = client.ask::<KeyCreate>(&KeyCreateRequest { key: &key, class: MESSAGE, note: "" });
        if made.code != 0 {
            let (error, said) = (made.error(), words(&made));
            assert!(matches!(error, ErrorCode::StoreFailed | ErrorCode::AuditUnwritable), "{error}: {said}");
            assert!(said.contains("os error 28"), "{said}");
            return;
        }
        match client.encrypt_under(&key, EMPTY, key.as_bytes()) {
            Ok(value) => values.push((key, value)),
            Err(error) => return assert_eq!(error, ErrorCode::AuditUnwritable),
        }
    }
}

/// The first value that does not open.
fn find_lost(client: &mut Client, values: &[(String, Vec<u8>)]) -> Option<String> {
    let mut opens =
        |key: &str, value: &[u8]| client.decrypt(EMPTY, value).is_ok_and(|opened| opened == key.as_bytes());
    values.iter().find(|(key, value)| !opens(key, value)).map(|(key, _)| key.clone())
}

/// While nothing can be recorded, that is the answer.
fn all_open_or_unrecorded(client: &mut Client, values: &[(String, Vec<u8>)]) {
    for (key, value) in values {
        match client.decrypt(EMPTY, value) {
            Ok(opened) => assert_eq!(opened, key.as_bytes()),
            Err(error) => assert_eq!(error, ErrorCode::AuditUnwritable, "{key}"),
        }
    }
}

#[test]
fn on_a_full_disk_of_any_size_no_key_is_lost() {
    const NAME: &str = "on_a_full_disk_of_any_size_no_key_is_lost";
    let (mut made, mut refusals) = (Vec::new(), 0);
    for kilobytes in (0..10).map(|number| 32 + 12 * number) {
        let home = Home::new();
        let disk = if am_root() { SmallDisk::mount(&home.state(), kilobytes) } else { None };
        let Some(disk) = disk else { return skipped(NAME, "needs root and tmpfs") };
        home.init();
        let daemon = home.start();
        let (mut client, mut values) = (daemon.client(), Vec::new());
        fill(&mut client, &mut values);
        made.push(values.len());
        // With room again, in the same daemon.
        disk.resize(kilobytes + 16);
        client.create_key("room-again").unwrap();
        fill(&mut client, &mut values);
        // Killed while there is not a byte: the next start needs room for its lines, and says so.
        daemon.kill();
        disk.fill();
        match start(&home, &[]) {
            Ok(daemon) => {
                all_open_or_unrecorded(&mut daemon.client(), &values);
                daemon.kill();
            }
            Err(refused) => {
                assert_no_failure(&refused.stderr);
                assert_eq!(refused.code, Some(74), "{kilobytes} kB: {refused:?}");
                refusals += 1;
            }
        }
        disk.make_room();
        disk.resize(MORE_KILOBYTES);
        let daemon = home.start();
        let mut client = daemon.client();
        assert_eq!(find_lost(&mut client, &values), None);
        client.create_key("one-more").unwrap();
        drop(client);
        daemon.terminate();
        let verified = finish(home.command().arg("--verify-audit"));
        assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    }
    println!("keys that fitted: {made:?}; {refusals} starts refused for want of room");
    assert!(made[9] > made[0], "{made:?}");
}

#[test]
fn the_detector_objects_to_a_lost_key() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("key-0").unwrap();
    let values = vec![("key-0".to_owned(), client.encrypt_under("key-0", EMPTY, b"key-0").unwrap())];
    daemon.terminate();
    // A store that began anew when it found no room.
    let other = Home::with_key(&std::fs::read_to_string(home.key()).unwrap());
    let daemon = other.start_with(&["--new-keyring"]);
    let mut client = daemon.client();
    assert!(find_lost(&mut client, &values).is_some());
}
