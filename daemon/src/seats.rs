//! Seats: how many connections may be open at once, in all and for one user.
//!
//! Whoever oversees the agent (owner, admins, operators) always finds one, whatever the others hold: else nobody
//! could lock it while it is flooded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections open now, by user.
pub(crate) struct Seats {
    total: usize,
    taken: Mutex<BTreeMap<u32, usize>>,
}

/// One connection's place; free again when dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Seats {
    /// So many seats.
    ///
    /// The last eighth (one at least, where there are two) is kept for those who oversee, and one user among them
    /// never takes it all; others have a quarter each at most.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, taken: Mutex::default() }
    }

    /// A seat for a user, if one is free.
    pub(crate) fn take(self: &Arc<Self>, uid: u32, oversees: bool) -> Option<Seat> {
        let kept = (self.total / 8).max(1).min(self.total.saturating_sub(1));
        let (of_user_at_most, in_all_at_most) = if oversees {
            (self.total - kept, self.total)
        } else {
            ((self.total / 4).max(1), self.total - kept)
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = taken.get(&uid).copied().unwrap_or_default();
        if of_user >= of_user_at_most || taken.values().sum::<usize>() >= in_all_at_most {
            return None;
        }
        taken.insert(uid, of_user + 1);
        Some(Seat { seats: Arc::clone(self), uid })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.uid) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(seats: &Arc<Seats>, uid: u32, oversees: bool) -> Vec<Seat> {
        std::iter::from_fn(|| seats.take(uid, oversees)).collect()
    }

    #[test]
    fn however_many_others_hold_whoever_oversees_finds_a_seat() {
        let seats = Arc::new(Seats::new(16));
        let plain: Vec<Vec<Seat>> = (1..100).map(|uid| all(&seats, uid, false)).collect();
        let counts: Vec<usize> = plain.iter().map(Vec::len).filter(|count| *count > 0).collect();
        assert_eq!(counts, [4, 4, 4, 2], "a quarter each, and not the last eighth");
        assert_eq!(all(&seats, 0, true).len(), 2);
        drop(plain);
        assert!(seats.taken.lock().unwrap().is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn one_of_those_who_oversee_leaves_room_for_the_next() {
        let seats = Arc::new(Seats::new(16));
        let root = all(&seats, 0, true);
        assert_eq!(root.len(), 14);
        assert!(seats.take(1, false).is_none(), "what is left is not for others");
        assert_eq!(all(&seats, 7, true).len(), 2);
        drop(root);
        assert!(seats.take(1, false).is_some());
    }

    #[test]
    fn where_there_is_hardly_any_room_somebody_is_served() {
        for total in 1..4 {
            let seats = Arc::new(Seats::new(total));
            assert!(
                seats.take(0, true).is_some() && seats.take(1, false).is_some() == (total > 0),
                "{total}"
            );
        }
    }
}
