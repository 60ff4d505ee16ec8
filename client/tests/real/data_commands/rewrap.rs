//! `rewrap` of single values and files, in every form.

use std::fs;

use super::{
    super::place::{Place, noise},
    key_id, rotated,
};

#[test]
fn every_form_moves_and_opens_as_before() {
    let place = Place::started();
    place.run(&["keys", "create", "app"], b"").expect(0);
    let mut old = Vec::new();
    for size in [0, 6, 1 << 20, (1 << 20) + 1, 3 << 20] {
        for armor in [&[][..], &["-a"]] {
            let plain = noise(size);
            let words = [&["encrypt", "-k", "app", "-c", "row=1"], armor].concat();
            old.push((plain.clone(), place.run(&words, &plain).expect(0).stdout));
        }
    }
    place.run(&["keys", "rotate", "app"], b"").expect(0);
    for (plain, sealed) in &old {
        let done = place.run(&["rewrap", "-v", "-c", "row=1"], sealed).expect(0);
        assert!(done.stderr.contains("moved to version 2"), "{}", done.stderr);
        let moved = done.stdout;
        assert_eq!(moved.len(), sealed.len());
        assert_ne!(key_id(&place, &moved), key_id(&place, sealed));
        if sealed.starts_with(b"keyagent/stream") {
            assert!(
                moved[..16] == sealed[..16]
                    && moved[16..121] != sealed[16..121]
                    && moved[121..] == sealed[121..]
            );
        }
        let again = place.run(&["rewrap", "-v", "-c", "row=1"], &moved).expect(0);
        assert!(again.stdout == moved && again.stderr.contains("is current, version 2"), "{}", again.stderr);
        assert!(place.run(&["decrypt", "-c", "row=1"], &moved).expect(0).stdout == *plain);
        assert!(place.run(&["decrypt", "-c", "row=1"], sealed).expect(0).stdout == *plain, "grace");
    }
    place.run(&["keys", "retire", "app", "1"], b"").expect(0);
    for (plain, sealed) in &old {
        for verb in ["rewrap", "decrypt"] {
            let done = place.run(&[verb, "-c", "row=1", "-o", "out"], sealed);
            let id = key_id(&place, sealed);
            assert!(
                done.stderr.contains(&format!("key id {id}\n")),
                "{} bytes: {}",
                plain.len(),
                done.stderr
            );
            done.refused(79, "VERSION_RETIRED");
            assert!(!place.work("out").exists());
        }
    }
    place.run(&["keys", "reinstate", "app", "1"], b"").expect(0);
    place.run(&["rewrap", "-c", "row=1"], &old[3].1).expect(0);
}

#[test]
fn what_does_not_open_is_not_moved() {
    let (place, value) = rotated();
    place.run(&["rewrap", "-c", "row=2"], value.as_bytes()).refused(65, "DOES_NOT_OPEN");
    place.run(&["rewrap"], value.as_bytes()).refused(65, "DOES_NOT_OPEN");
    place.run(&["rewrap"], b"hello").refused(65, "NOT_CIPHERTEXT");
    place.run(&["rewrap"], b"").refused(65, "NOT_CIPHERTEXT");
    let stream = place.run(&["encrypt", "-k", "app"], &noise(2 << 20)).expect(0).stdout;
    let old = stream.clone();
    place.run(&["keys", "rotate", "app"], b"").expect(0);
    for cut in [100, 176] {
        place.run(&["rewrap"], &old[..cut]).expect(65);
    }
    // A length that no stream has; the one byte less of another cannot be told without the key.
    let done = place.run(&["rewrap", "-o", "out"], &old[..177 + 16400 + 3]);
    done.refused(65, "DOES_NOT_OPEN");
    assert!(!place.work("out").exists());
}

#[test]
fn files_are_replaced_in_place_and_large_ones_where_they_lie() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::started();
    let plains = [("small", noise(100)), ("large", noise(3 << 20)), ("text", noise(2 << 20))];
    for (name, plain) in &plains {
        fs::write(place.work(name), plain).unwrap();
    }
    place.run(&["encrypt", "--in-place", "small", "large"], b"").expect(0);
    place.run(&["encrypt", "--in-place", "-a", "text"], b"").expect(0);
    let before: Vec<_> = plains.iter().map(|(name, _)| fs::metadata(place.work(name)).unwrap()).collect();
    place.run(&["keys", "rotate", "default"], b"").expect(0);
    let done = place.run(&["rewrap", "--in-place", "small", "large", "text"], b"").expect(0);
    assert_eq!(
        done.stderr,
        "keyagent: small: message moved to version 2\nkeyagent: large: stream moved to version 2\n\
         keyagent: text: stream moved to version 2\n"
    );
    for ((name, plain), before) in plains.iter().zip(&before) {
        let now = fs::metadata(place.work(name)).unwrap();
        assert_eq!((now.len(), now.mode()), (before.len(), before.mode()), "{name}");
        assert_eq!(now.ino() == before.ino(), *name == "large", "{name}");
        assert!(place.run(&["decrypt", name], b"").expect(0).stdout == *plain, "{name}");
    }
    let stamps = |name: &str| {
        fs::metadata(place.work(name)).map(|now| (now.ino(), now.mtime(), now.mtime_nsec())).unwrap()
    };
    let before: Vec<_> = plains.iter().map(|(name, _)| stamps(name)).collect();
    let done = place.run(&["rewrap", "--in-place", "small", "large", "text"], b"").expect(0);
    assert_eq!(done.stderr.matches("is current, version 2").count(), 3, "{}", done.stderr);
    for ((name, _), before) in plains.iter().zip(before) {
        assert_eq!(stamps(name), before, "{name}: untouched");
    }
    assert_eq!(fs::read_dir(place.path("work")).unwrap().count(), 3);
    for words in [&["small", "large"][..], &["-o", "x", "small", "large"]] {
        place.run(&[&["rewrap"], words].concat(), b"").refused(64, "USAGE");
    }
    place.run(&["rewrap", "-o", "small", "small"], b"").expect(64);
    place.run(&["rewrap", "-o", "moved", "large"], b"").expect(0);
    assert!(fs::read(place.work("moved")).unwrap() == fs::read(place.work("large")).unwrap());
}

#[test]
fn a_program_reads_what_was_done_as_json() {
    let (place, value) = rotated();
    let done = place.run(&["rewrap", "--json", "-c", "row=1"], value.as_bytes()).expect(0);
    assert_eq!(
        done.stderr,
        "{\"schema\":\"keyagent.rewrap/1\",\"files\":[{\"input\":\"-\",\"output\":\"-\",\"kind\":\"message\",\
         \"values\":1,\"changed\":1,\"version\":2}]}\n"
    );
}
