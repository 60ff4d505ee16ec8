//! Seats: how many connections may be open at once, in all and for one user.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections open now, by user.
pub(crate) struct Seats {
    total: usize,
    per_user: usize,
    taken: Mutex<BTreeMap<u32, usize>>,
}

/// One connection's place; free again when dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Seats {
    /// `total` seats; one user never takes the last eighth of them.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, per_user: (total - total / 8).max(1), taken: Mutex::default() }
    }

    /// A seat for a user, if one is free.
    pub(crate) fn take(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = taken.get(&uid).copied().unwrap_or_default();
        if of_user >= self.per_user || taken.values().sum::<usize>() >= self.total {
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

    #[test]
    fn one_user_cannot_take_every_seat() {
        let seats = Arc::new(Seats::new(16));
        let first: Vec<Seat> = std::iter::from_fn(|| seats.take(1)).collect();
        assert_eq!(first.len(), 14);
        let second: Vec<Seat> = std::iter::from_fn(|| seats.take(2)).collect();
        assert_eq!(second.len(), 2);
        assert!(seats.take(3).is_none());
        drop(first);
        assert_eq!(std::iter::from_fn(|| seats.take(3)).collect::<Vec<_>>().len(), 14);
        drop(second);
        assert!(seats.take(2).is_some());
        assert!(seats.taken.lock().unwrap().is_empty(), "nobody is remembered who has left");
    }
}
