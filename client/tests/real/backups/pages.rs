//! A backup of more keys than one page holds.

use keyagent_common::backup::Backup;
use sha2::{Digest, Sha256};

use super::*;

/// The file with its pages in this order, each with the length before it, and a right checksum.
fn reordered(whole: &[u8], order: &[usize]) -> Vec<u8> {
    let backup = Backup::parse(whole).unwrap();
    let framed = |page: &[u8]| [&u32::try_from(page.len()).unwrap().to_le_bytes(), page].concat();
    let all: Vec<Vec<u8>> = backup.pages.iter().map(|page| framed(page)).collect();
    let behind = whole.len() - 64;
    let before = behind - all.iter().map(Vec::len).sum::<usize>();
    let mut bytes = whole[..before].to_vec();
    for page in order {
        bytes.extend_from_slice(&all[*page]);
    }
    bytes.extend_from_slice(&whole[behind..behind + 32]);
    // How many pages there are: the last of the counts, behind magic, origin, time, master, id and flags.
    bytes[109..113].copy_from_slice(&u32::try_from(order.len()).unwrap().to_le_bytes());
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

#[test]
fn many_keys_go_over_many_pages_none_of_which_can_be_moved_or_left_out() {
    let (place, stick) = (Place::started(), Stick::new());
    let long = "a".repeat(60);
    place
        .sh(&format!(
            "n=0; while [ $n -lt 300 ]; do keyagent keys create -q c/{long}/{long}$n; n=$((n + 1)); done; \
             keyagent keys rotate c/{long}/{long}7"
        ))
        .expect(0);
    place.created(&stick, "a", "");
    let whole = fs::read(stick.path("a")).unwrap();
    let count = Backup::parse(&whole).unwrap().pages.len();
    assert!(count > 2, "{count}");
    assert_eq!(reordered(&whole, &(0..count).collect::<Vec<_>>()), whole);
    let swapped: Vec<usize> = (0..count).map(|page| if page < 2 { 1 - page } else { page }).collect();
    for order in
        [&swapped[..], &(0..count - 1).collect::<Vec<_>>(), &(1..count).collect::<Vec<_>>(), &[count - 1]]
    {
        fs::write(stick.path("b"), reordered(&whole, order)).unwrap();
        place.backup(&format!("check {}", stick.shown("b"))).refused(65, "BACKUP_DAMAGED");
    }
    let new = Place::new();
    new.restored(&stick, "a", "");
    assert_eq!(new.versions(), place.versions());
}
