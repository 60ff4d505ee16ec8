//! Doors are asked in turn, however many wait at one of them.

use std::os::unix::net::UnixStream;

use keyagent_sys::socket::make_listener;

use super::*;

#[test]
fn a_crowd_at_one_door_does_not_block_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let open =
        |name: &str| Door { name: name.into(), listener: make_listener(&path(name), 0o600, None).unwrap() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut doors = Doors::open(vec![open("crowded"), open("quiet"), open("unused")]).unwrap();
        let connect = |name: &str| UnixStream::connect(path(name)).unwrap();
        let crowd: Vec<UnixStream> = (0..300).map(|_| connect("crowded")).collect();
        let few: Vec<UnixStream> = (0..3).map(|_| connect("quiet")).collect();
        let mut order = Vec::new();
        for _ in 0..303 {
            order.push(doors.accept().await.unwrap().0);
        }
        let places: Vec<usize> = (0..303).filter(|place| &*order[*place] == "quiet").collect();
        // Turn by turn; one more place where the kernel had not yet told of the second door.
        assert!(places.len() == 3 && places[2] <= 6, "{places:?}");
        drop((crowd, few));
        // After waiting for nobody, somebody at the last door is noticed.
        let late = std::thread::spawn({
            let path = path("unused");
            move || UnixStream::connect(path).unwrap()
        });
        assert_eq!(&*doors.accept().await.unwrap().0, "unused");
        drop(late.join().unwrap());
    });
}

#[test]
fn refusals_keep_the_last_door_and_unit() {
    let principal = |unit: Option<&str>, socket: &str| Principal {
        uid: 7,
        gid: 7,
        pid: 1,
        groups: Box::default(),
        unit: unit.map(Arc::from),
        socket: socket.into(),
    };
    let mut refusals = Refusals::default();
    assert!(refusals.count(&principal(Some("x.service"), "agent")), "the first is written at once");
    refusals.written = Some(Instant::now());
    assert!(!refusals.count(&principal(None, "team")));
    let refused = &refusals.refused[&7];
    assert_eq!((refused.count, refused.unit.as_deref(), &*refused.socket), (2, None, "team"));
    for uid in 0..5000 {
        refusals.count(&Principal { uid, ..principal(None, "agent") });
    }
    assert_eq!(refusals.refused.len(), 1024);
    assert_eq!(refusals.refused[&7].count, 3);
    // However many they are, the log gets few lines, and no refusal is left out of them.
    let lines = refusals.lines();
    assert_eq!(lines.len(), REFUSAL_LINES + 1);
    assert!(matches!(lines[0].event, Event::PeerRefused { uid: 7, count: 3 }));
    let last = lines[REFUSAL_LINES].event;
    assert!(matches!(last, Event::PeersRefused { users: 1016, .. }), "{last:?}");
    let counted = lines.iter().map(|line| match line.event {
        Event::PeerRefused { count, .. } | Event::PeersRefused { count, .. } => count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counted.sum::<u64>(), 5002);
    refusals.clear();
    assert!(refusals.lines().is_empty());
}
