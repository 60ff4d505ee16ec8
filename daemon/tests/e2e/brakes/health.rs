//! What a look at the agent's health costs, and whom it may cost.

use keyagent_common::op::{CheckResult, Empty, Health};

use crate::{
    as_user,
    support::{Home, am_root, client, log, random_key, skipped},
};

#[test]
fn whoever_only_uses_keys_does_not_make_the_master_key_be_read() {
    const NAME: &str = "whoever_only_uses_keys_does_not_make_the_master_key_be_read";
    const USER: u32 = 54_321;
    if !am_root() {
        return skipped(NAME, "needs root to become another user");
    }
    let home = Home::initialized();
    let config = home.configure(
        "[[rule]]\nname = \"app\"\nuids = [54321]\nkeys = [\"**\"]\nallow = [\"data\", \"health\"]\n",
    );
    let daemon = home.start_with(&["--config", config.to_str().unwrap()]);
    as_user::open_for_all(&home);
    let right = home.master();
    // Whoever reads this one raises an alert.
    home.write_key(&random_key());
    let alerts = || {
        let text = std::fs::read_to_string(home.state_file("audit.log")).unwrap();
        text.matches(r#""kind":"key_mismatch""#).count()
    };
    let frames: Vec<_> = (0..3).map(|id| client::request::<Health>(id, &Empty {})).collect();
    assert_eq!(as_user::send(daemon.socket(), USER, &frames), [0, 0, 0]);
    assert_eq!(alerts(), 0, "a user's look reads nothing");
    let mut owner = daemon.client();
    assert_eq!(owner.health().check("master_key").0, CheckResult::Failed);
    assert_eq!(alerts(), 1);
    home.write_key(&crate::support::hex(&right));
    assert_eq!(owner.health().check("master_key").0, CheckResult::Ok);
    daemon.terminate();
    log::lines(&home);
}
