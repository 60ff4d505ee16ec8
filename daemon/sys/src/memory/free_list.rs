//! Which parts of an arena are free.
//!
//! Only numbers: must never touch the memory it speaks of.

use std::collections::BTreeMap;

/// Free ranges by their start; neighbours are always merged.
pub(super) struct FreeList {
    ranges: BTreeMap<usize, usize>,
    free: usize,
}

impl FreeList {
    /// `len` free units from 0.
    pub(super) fn new(len: usize) -> Self {
        Self { ranges: BTreeMap::from([(0, len)]), free: len }
    }

    /// Free units in all.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes `len` units from the first range that has them; returns their start.
    pub(super) fn take(&mut self, len: usize) -> Option<usize> {
        let (start, room) = self.ranges.iter().map(|(s, l)| (*s, *l)).find(|(_, room)| *room >= len)?;
        self.ranges.remove(&start);
        if room > len {
            self.ranges.insert(start + len, room - len);
        }
        self.free -= len;
        Some(start)
    }

    /// Gives back what [`FreeList::take`] handed out.
    pub(super) fn give(&mut self, start: usize, len: usize) {
        let (mut from, mut to) = (start, start + len);
        if let Some(after) = self.ranges.remove(&to) {
            to += after;
        }
        if let Some((before, room)) = self.ranges.range(..from).next_back().map(|(s, l)| (*s, *l))
            && before + room == from
        {
            from = before;
        }
        self.ranges.insert(from, to - from);
        self.free += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_neighbours_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut list = FreeList::new(6);
            let starts: Vec<_> = (0..3).map(|_| list.take(2).unwrap()).collect();
            assert_eq!(starts, [0, 2, 4]);
            assert_eq!((list.take(1), list.free()), (None, 0));
            for index in order {
                list.give(starts[index], 2);
            }
            assert_eq!((list.ranges.len(), list.free(), list.take(6)), (1, 6, Some(0)));
        }
    }

    #[test]
    fn fills_holes_first() {
        let mut list = FreeList::new(10);
        let starts: Vec<_> = (0..5).map(|_| list.take(2).unwrap()).collect();
        list.give(starts[1], 2);
        assert_eq!(list.take(3), None);
        assert_eq!(list.take(1), Some(2));
        assert_eq!(list.take(1), Some(3));
    }
}
