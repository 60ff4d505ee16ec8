//! Many at once: clients change, seal and open at random while the daemon is killed and started again; then the
//! whole history is compared with a model of keys and versions.

mod model;
mod workers;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use keyagent_common::context::EMPTY;

use crate::support::{Client, Daemon, Home, bounded, finish, log};
use model::{Change, DESTROYED, Epoch, Event, What};
use workers::{Field, KEYS, look};

/// Clients at work at the same time.
fn workers() -> usize {
    bounded(32, 256)
}

/// Lives between kills, and how long each is.
fn epochs() -> (usize, Duration) {
    (bounded(4, 60), Duration::from_millis(bounded(1200, 5000)))
}

/// Runs the workers; what happened between each two starts.
fn history(home: &Home) -> Vec<Epoch> {
    let daemon = home.start();
    for key in 0..KEYS {
        daemon.client().create_key(&workers::name(key)).unwrap();
    }
    let mut before = look(&mut daemon.client(), &[]);
    let field = Field::new(home.socket());
    let (stop, mut found) = (AtomicBool::new(false), Vec::new());
    let (count, length) = epochs();
    let mut daemon = Some(daemon);
    std::thread::scope(|scope| {
        let _stopped = StopAtEnd(&stop);
        for number in 0..workers() {
            let (field, stop) = (&field, &stop);
            scope.spawn(move || workers::work(field, number as u64 + 1, stop));
        }
        for epoch in 1..=count {
            std::thread::sleep(length);
            // In the middle of whatever is under way.
            let running = daemon.take().unwrap();
            // The first time nothing is cut short: what happened until then is known.
            daemon = Some(interrupt(home, running, &field, epoch > 1, |events, client| {
                let after = look(client, &before);
                found.push(Epoch { before: std::mem::replace(&mut before, after.clone()), events, after });
                if epoch == count {
                    stop.store(true, Ordering::SeqCst);
                }
            }));
        }
    });
    let daemon = daemon.unwrap();
    let (values, mut client) = (field.values(), daemon.client());
    for (key, version, value) in &values {
        let opened = client.decrypt(EMPTY, value).is_ok();
        assert_eq!(Some(opened), before[*key].opens(*version), "version {version} of key {key}");
    }
    println!("{} values", values.len());
    daemon.terminate();
    found
}

/// Workers end even if a test fails.
struct StopAtEnd<'s>(&'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Kills the daemon under load, or ends it when nobody asks for anything; everybody waits until the next one was
/// looked at.
fn interrupt(
    home: &Home,
    daemon: Daemon,
    field: &Field,
    kill: bool,
    examine: impl FnOnce(Vec<Event>, &mut Client),
) -> Daemon {
    let mut events = if kill {
        daemon.kill();
        field.gate.write().unwrap()
    } else {
        let events = field.gate.write().unwrap();
        daemon.terminate();
        events
    };
    let daemon = home.start();
    examine(std::mem::take(&mut *events.get_mut().unwrap()), &mut daemon.client());
    daemon
}

#[test]
fn a_history_of_many_workers_agrees_with_the_model() {
    let begun = Instant::now();
    let home = Home::initialized();
    let epochs = history(&home);
    let (mut changes, mut looks, mut unknown) = (0, 0, 0);
    for (number, epoch) in epochs.iter().enumerate() {
        epoch.check().unwrap_or_else(|why| panic!("epoch {number}: {why}"));
        for event in &epoch.events {
            match event.what {
                What::Changed(..) => changes += 1,
                What::MayHaveChanged(_) => unknown += 1,
                What::Opened { .. } | What::Sealed { .. } => looks += 1,
            }
        }
    }
    let lines = log::unverified_lines(&home);
    let recorded = ["key_rotate", "key_promote", "key_retire", "key_reinstate", "key_disable", "key_enable"];
    let recorded = |line: &&serde_json::Value| {
        line["success"] == true
            && (line["event_type"] == "key_destroy"
                || recorded.iter().any(|name| line["event_type"] == *name))
    };
    let recorded = lines.iter().filter(recorded).count();
    assert!(recorded >= changes, "{recorded} lines of {changes} changes");
    assert_eq!(finish(home.command().arg("--verify-audit")).code, Some(0));
    println!(
        "{} workers, {} kills, {changes} changes, {unknown} cut short, {looks} looks, {} s",
        workers(),
        epochs.len() - 1,
        begun.elapsed().as_secs()
    );
    assert!(changes > 100 && looks > 500, "{changes} changes and {looks} looks are too few");
    the_model_objects_to_false_histories(&epochs[0]);
}

/// The very history, with one thing changed.
fn the_model_objects_to_false_histories(epoch: &Epoch) {
    epoch.check().unwrap();
    let falsified = |case: &str, falsify: &dyn Fn(&mut Epoch) -> bool| {
        let mut changed = epoch.clone();
        assert!(falsify(&mut changed), "{case}: there is nothing to be changed");
        assert!(changed.check().is_err(), "{case} was not noticed");
    };
    falsified("values that opened although they are refused, and the reverse", &|epoch| {
        let looks = epoch.events.iter_mut().filter_map(|event| match &mut event.what {
            What::Opened { success, .. } => Some(success),
            _ => None,
        });
        looks.map(|success| *success = !*success).count() > 0
    });
    falsified("two changes in one generation", &|epoch| {
        let first = epoch.events.iter().find_map(|event| match event.what {
            What::Changed(generation, _) => Some(generation),
            _ => None,
        });
        let last = epoch.events.iter_mut().rev().find_map(|event| match &mut event.what {
            What::Changed(generation, _) => Some(generation),
            _ => None,
        });
        first.zip(last).is_some_and(|(first, last)| first != std::mem::replace(last, first))
    });
    falsified("an acknowledged version that is lost", &|epoch| {
        let lost = epoch.events.iter().find_map(|event| match &event.what {
            What::Changed(_, Change::Rotated { version, .. }) => Some((event.key, *version)),
            _ => None,
        });
        lost.is_some_and(|(key, version)| epoch.after[key].versions.remove(&version).is_some())
    });
    falsified("a state that nobody made", &|epoch| {
        let versions = &mut epoch.after[0].versions;
        let first = versions.values_mut().find(|state| **state != DESTROYED);
        first.is_some_and(|state| std::mem::replace(state, DESTROYED) != DESTROYED)
    });
}
