//! Principals of real connections of this process; those of others are in tests/e2e.

use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn this_process_is_itself() {
    let (one, _two) = UnixStream::pair().unwrap();
    let principal = Identifier::new().identify(one.as_fd(), &Arc::from("agent"), |_| true).unwrap();
    let peer::Peer { uid, gid, pid } = peer::credentials(one.as_fd()).unwrap();
    assert_eq!((principal.uid, principal.gid, principal.pid), (uid, gid, pid));
    assert_eq!(&*principal.socket, "agent");
    assert!(principal.groups.is_sorted());
}

#[test]
fn groups_are_not_asked_for_where_the_user_decides() {
    let (one, _two) = UnixStream::pair().unwrap();
    let me = peer::credentials(one.as_fd()).unwrap().uid;
    let identify = |needs_groups: &dyn Fn(u32) -> bool| {
        Identifier::new().identify(one.as_fd(), &Arc::from("agent"), needs_groups).unwrap()
    };
    let with = identify(&|uid| uid == me);
    let without = identify(&|uid| uid != me);
    assert_eq!(*with.groups, *known_groups(peer::groups(one.as_fd()).unwrap(), 65_534));
    assert_eq!(without, Principal { groups: Box::default(), ..with });
}

#[test]
fn groups_without_a_number_are_dropped() {
    assert_eq!(*known_groups(vec![7, 65_534, 3, 7, 0], 65_534), [0, 3, 7]);
    assert!(known_groups(vec![65_534], 65_534).is_empty());
}

#[test]
fn the_overflow_user_and_group_are_nobody() {
    let (one, _two) = UnixStream::pair().unwrap();
    let me = peer::credentials(one.as_fd()).unwrap();
    for (overflow_user, overflow_group) in [(me.uid, u32::MAX), (u32::MAX, me.gid)] {
        let mut identifier = Identifier { overflow_user, overflow_group, units: Units::default() };
        let refused = identifier.identify(one.as_fd(), &Arc::from("agent"), |_| true);
        assert!(matches!(refused, Err(Unidentified::Unmapped(_))), "{refused:?}");
    }
}
