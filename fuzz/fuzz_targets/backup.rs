//! A backup as a file, as a page and as an opened body: never a panic, and one body for one content.
#![no_main]
use keyagent_common::backup::{
    Backup,
    page::{Page, read_body},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Backup::parse(data);
    let _ = Page::parse(data);
    if let Ok(parts) = read_body(data) {
        let mut body = Vec::new();
        for part in parts {
            let count = u16::try_from(part.versions.len()).expect("it was read with a number of this size");
            part.write_head(count, &mut body).expect("what was read can be written");
            for version in &part.versions {
                version.write(&mut body).expect("what was read can be written");
            }
        }
        assert_eq!(body, data);
    }
});
