//! The agent of one ordinary user, who has all rights; rules let others in, and root is one of the others.

use std::{fs, os::unix::fs::chown};

use keyagent_common::{context::EMPTY, error::ErrorCode};

use super::stage::{Connection, Person};
use crate::support::{Home, am_root, chmod, eventually, have, process::Daemon, skipped};

const OWNER: u32 = 54_321;
const SHOP: u32 = 54_010;

const CONFIG: &str = r#"
[[listen]]
name = "agent"
mode = "0666"

[[rule]]
name = "shop"
uid = 54010
keys = ["default"]
allow = ["encrypt"]
"#;

#[test]
fn the_owner_has_all_and_others_what_the_rules_give() {
    const NAME: &str = "the_owner_has_all_and_others_what_the_rules_give";
    if !am_root() || !have("setpriv") {
        return skipped(NAME, "needs root and setpriv");
    }
    let home = Home::initialized();
    chmod(home.path(), 0o755);
    let config = home.configure(CONFIG);
    let entries = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().path());
    for path in ["", "config", "config/key", "config.toml", "state"]
        .map(|name| home.join(name))
        .into_iter()
        .chain(entries)
    {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    let become_owner = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
    let mut command = home.command_through(&become_owner);
    command.arg("--config").arg(&config);
    let mut daemon = Daemon::spawn(command, &home.socket());
    let connect = |uid| Connection::make(&home.socket(), &Person::of(uid)).unwrap();
    eventually("a socket", || {
        assert!(!daemon.has_ended(), "{}", daemon.stderr());
        fs::symlink_metadata(home.socket()).is_ok()
    });
    let mut owner = connect(OWNER);
    assert!(!owner.is_turned_away(), "{}", daemon.stderr());
    let value = owner.encrypt(EMPTY, b"x").unwrap();
    owner.create_key("more").unwrap();
    assert!(!owner.reload().unwrap().policy_changed);
    let mut shop = connect(SHOP);
    assert!(!shop.is_turned_away());
    shop.encrypt(EMPTY, b"x").unwrap();
    assert_eq!(shop.decrypt(EMPTY, &value), Err(ErrorCode::Denied));
    assert_eq!(shop.encrypt_under("more", EMPTY, b"x"), Err(ErrorCode::Denied));
    assert_eq!(shop.lock().unwrap_err(), ErrorCode::Denied);
    for stranger in [0, 54_099] {
        assert!(connect(stranger).is_turned_away(), "{stranger}");
    }
    // The owner's file decides, and only the owner or root may have written it.
    chown(&config, Some(SHOP), None).unwrap();
    assert_eq!(owner.reload().unwrap_err(), ErrorCode::Configuration);
    chown(&config, Some(0), Some(0)).unwrap();
    chmod(&config, 0o644);
    assert!(!owner.reload().unwrap().policy_changed);
    daemon.terminate();
}
