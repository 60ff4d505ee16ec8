//! Following the log, watching over a restart, evidence, and what a flag or hostile name does not do.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::place::Place;

#[test]
fn following_ends_with_its_reader_and_shows_what_is_added() {
    let place = Place::started();
    let script = "keyagent audit tail -n 1 -f > out & follower=$!\n\
                  sleep 0.3; printf x | keyagent encrypt > /dev/null; sleep 1.2; kill -INT $follower 2>/dev/null || true\n\
                  kill -TERM $follower 2>/dev/null || true; cat out";
    let text = place.sh(script).text();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().last().unwrap().contains("  encrypt  "), "{text}");
    let done = place.sh("timeout 20 keyagent audit tail -n 2 -f | head -n 1 | wc -l");
    assert_eq!(done.expect(0).line().trim(), "1");
}

#[test]
fn a_watch_goes_on_when_the_agent_comes_back() {
    let place = Place::started();
    let mut command = place.keyagent(&["watch", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    std::thread::sleep(std::time::Duration::from_millis(300));
    place.run(&["maintenance", "on"], b"").expect(0);
    assert!(lines.next().unwrap().contains("\"kind\":\"maintenance\""));
    place.run(&["stop"], b"").expect(0);
    place.run(&["start"], b"").expect(0);
    place.run(&["maintenance", "off"], b"").expect(0);
    assert!(lines.any(|line| line.contains("maintenance off")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_report_counts_uses_and_says_whether_the_log_is_whole() {
    let place = Place::started();
    place
        .sh("for i in 1 2 3; do printf x | keyagent encrypt > v; done; keyagent decrypt -q v > /dev/null")
        .expect(0);
    let done = place.run(&["report", "--since", "1h", "--json"], b"").expect(0);
    let report: serde_json::Value = serde_json::from_str(&done.text()).unwrap();
    assert_eq!(report["verification"]["whole"], true, "{}", report["verification"]);
    assert_eq!((&report["access"][0]["key"], &report["access"][0]["uses"]), (&"default".into(), &4.into()));
    let text = place.run(&["report", "--since", "1h"], b"").expect(0).text();
    assert!(text.contains("it is whole") && text.contains("decrypt 1, encrypt 3"), "{text}");
    let log = place.state().join("audit.log");
    place.run(&["stop"], b"").expect(0);
    let changed = std::fs::read_to_string(&log).unwrap().replacen("\"encrypt\"", "\"decrypt\"", 1);
    std::fs::write(&log, changed).unwrap();
    assert_eq!(place.run(&["audit", "verify"], b"").code, 1);
}
