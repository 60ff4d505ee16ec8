//! Many files in one command.

use std::fs;

use super::super::place::{Place, noise};

#[test]
fn a_thousand_files_are_sealed_and_opened() {
    let place = Place::started();
    let mut plains = Vec::new();
    for number in 0..1000_usize {
        let plain = noise(number % 97);
        fs::write(place.work(&format!("{number}.pem")), &plain).unwrap();
        plains.push(plain);
    }
    let done =
        place.sh("keyagent -q encrypt *.pem; rm *.pem; ls | wc -l; keyagent -q decrypt *.ka").expect(0);
    assert_eq!(done.line().trim(), "1000", "{}", done.stderr);
    for (number, plain) in plains.iter().enumerate() {
        assert!(fs::read(place.work(&format!("{number}.pem"))).unwrap() == *plain, "{number}");
    }
}

#[test]
fn files_of_every_size_go_through_any_number_of_threads() {
    let place = Place::started();
    let plains = [("a", 5), ("b", (1 << 20) + 1), ("c", 0), ("d", 5 << 20), ("e", 1 << 20)]
        .map(|(name, size)| (name, noise(size)));
    for threads in ["1", "3", "16"] {
        for (name, plain) in &plains {
            fs::write(place.work(name), plain).unwrap();
        }
        let script = format!(
            "keyagent -q encrypt --threads {threads} a b c d e; rm a b c d e; keyagent -q decrypt --threads {threads} *.ka; rm *.ka"
        );
        place.sh(&script).expect(0);
        for (name, plain) in &plains {
            assert!(fs::read(place.work(name)).unwrap() == *plain, "{name} with {threads} threads");
        }
    }
}
