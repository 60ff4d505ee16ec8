//! The nearest of the known words, for somebody who mistyped one.

/// The known word that is at most a third of its length away, if there is one.
pub(crate) fn nearest<'w>(typed: &str, known: &[&'w str]) -> Option<&'w str> {
    // A word much longer than any known one is no slip of the finger, and the table below stays small.
    if typed.len() > 64 {
        return None;
    }
    let typed = typed.to_lowercase().replace('-', "_");
    let distances = known.iter().map(|word| (distance(&typed, word), *word));
    let (distance, word) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.len() / 3).max(1)).then_some(word)
}

/// How many letters have to be put in, taken out, changed, or exchanged with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (mut above, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.chars().count()).collect());
    let mut previous = None;
    for (index, letter) in from.chars().enumerate() {
        let mut next = vec![index + 1];
        let mut before = None;
        for (column, other) in to.chars().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&row, column) + usize::from(letter != other);
            let best = changed.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let exchanged = previous == Some(other) && before == Some(letter);
            let crossed = if exchanged { at(&above, column.wrapping_sub(1)) + 1 } else { best };
            next.push(best.min(crossed));
            before = Some(other);
        }
        previous = Some(letter);
        above = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_slips() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("idle", "idel", 1),
            ("lgo", "log", 1),
            ("flaw", "lawn", 2),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["durability", "rotate_size", "keep"];
        assert_eq!(nearest("durablity", &known), Some("durability"));
        assert_eq!(nearest("rotate-size", &known), Some("rotate_size"));
        assert_eq!(nearest("Keep", &known), Some("keep"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"k".repeat(65), &known), None);
    }
}
