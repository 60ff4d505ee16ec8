//! Data of every size through `encrypt` and `decrypt`, from files and pipes, as bytes and as text.

use std::{
    fs,
    io::Write,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use super::place::{Place, long_campaign, noise};

mod in_place;
mod ranges;
mod threads;

const MIB: usize = 1 << 20;
const SIZES: [usize; 9] = [0, 1, 16_383, 16_384, 16_385, MIB - 1, MIB, MIB + 1, 5 * MIB + 7];
const CONTEXT: [&str; 4] = ["-c", "table=cards", "-c", "row=17"];

fn lengths(plaintext: usize) -> usize {
    if plaintext <= MIB { 73 + plaintext } else { 177 + plaintext + 16 * (plaintext / 16_384 + 1) }
}

fn round_trips(context: &[&str], sizes: &[usize]) {
    let place = Place::started();
    for &size in sizes {
        let plain = noise(size);
        fs::write(place.work("plain"), &plain).unwrap();
        for armor in [&[][..], &["-a"]] {
            let words = [&["encrypt"], armor, context].concat();
            let from_pipe = place.run(&words, &plain).expect(0).stdout;
            place.run(&[&words[..], &["plain", "-o", "sealed"]].concat(), b"").expect(0);
            let from_file = fs::read(place.work("sealed")).unwrap();
            assert_eq!(from_pipe.len(), from_file.len(), "{size} {armor:?}");
            if armor.is_empty() {
                assert_eq!(from_pipe.len(), lengths(size), "{size}");
            } else {
                let prefix = if size <= MIB { b"ka1." } else { b"ks1." };
                assert!(from_pipe.starts_with(prefix) && from_pipe.ends_with(b"\n"), "{size}");
                assert_eq!(from_pipe.len(), 4 + (lengths(size) * 4).div_ceil(3) + 1, "{size}");
            }
            let words = [&["decrypt"], context].concat();
            assert!(
                place.run(&words, &from_file).expect(0).stdout == plain,
                "{size} {armor:?}, file to pipe"
            );
            fs::write(place.work("sealed"), from_pipe).unwrap();
            place.run(&[&words[..], &["sealed", "-o", "opened"]].concat(), b"").expect(0);
            assert!(fs::read(place.work("opened")).unwrap() == plain, "{size} {armor:?}, pipe to file");
            let other = place.run(&["decrypt", "-c", "row=18", "sealed", "-o", "other"], b"");
            other.refused(65, "DOES_NOT_OPEN");
            assert!(!place.work("other").exists());
            for name in ["sealed", "opened"] {
                fs::remove_file(place.work(name)).unwrap();
            }
        }
    }
}

#[test]
fn every_size_comes_back_without_context() {
    round_trips(&[], &SIZES);
}

#[test]
fn every_size_comes_back_with_context() {
    // The largest takes longest and meets nothing that 1 MiB + 1 does not meet with a context.
    round_trips(&CONTEXT, if long_campaign() { &SIZES } else { &SIZES[..8] });
}

#[test]
fn a_pipe_that_delivers_in_crumbs_is_read_whole() {
    let place = Place::started();
    let script = "i=0; while [ $i -lt 300 ]; do printf %0999d $i; i=$((i + 1)); done | keyagent encrypt -a \
                  | { while read -r line; do printf %s \"$line\"; done; } | keyagent decrypt | wc -c";
    assert_eq!(place.sh(script).expect(0).line(), "299700");
}

#[test]
fn several_files_at_once_and_back() {
    let place = Place::started();
    let contents = [("a.pem", noise(10)), ("b.pem", noise(MIB + 5)), ("c.pem", Vec::new())];
    for (name, content) in &contents {
        fs::write(place.work(name), content).unwrap();
    }
    place.sh("keyagent encrypt *.pem; rm *.pem; keyagent decrypt *.ka; rm *.ka").expect(0);
    for (name, content) in &contents {
        assert!(&fs::read(place.work(name)).unwrap() == content, "{name}");
    }
}

/// Largest resident memory of a process while it runs, in KiB.
fn peak(mut child: Child) -> u64 {
    let (mut peak, path) = (0, format!("/proc/{}/status", child.id()));
    loop {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak = line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn memory_stays_small_however_long_the_pipe() {
    let place = Place::started();
    let size: usize = if long_campaign() { 1 << 30 } else { 64 << 20 };
    let mut encrypt =
        place.keyagent(&["encrypt"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut decrypt = place.keyagent(&["decrypt"]);
    decrypt.stdin(encrypt.stdout.take().unwrap()).stdout(Stdio::piped());
    let mut decrypt = decrypt.spawn().unwrap();
    let (mut into, mut from) = (encrypt.stdin.take().unwrap(), decrypt.stdout.take().unwrap());
    let writer = thread::spawn(move || {
        let block = noise(1 << 20);
        (0..size >> 20).for_each(|_| into.write_all(&block).unwrap());
    });
    let reader = thread::spawn(move || std::io::copy(&mut from, &mut std::io::sink()).unwrap());
    let sealing = thread::spawn(move || peak(encrypt));
    let opening = peak(decrypt);
    let sealing = sealing.join().unwrap();
    writer.join().unwrap();
    assert_eq!(reader.join().unwrap(), size as u64);
    assert!(sealing.max(opening) < 32 << 10, "encrypt {sealing} KiB, decrypt {opening} KiB");
    assert!(sealing.min(opening) > 0);
}
