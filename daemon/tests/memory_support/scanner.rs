//! Looks through all of a process's memory as root, through `/proc/PID/mem`, and through a core that gdb
//! makes of it, which holds the registers of every thread.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
};

use super::needles::Needle;

const PAGE: usize = 4096;
/// Forms are found by their first bytes.
const INDEXED: usize = 8;

/// Where a form of a needle was found.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) needle: String,
    pub(crate) kind: &'static str,
    pub(crate) address: usize,
    pub(crate) place: String,
    /// In pages that are both locked and left out of dumps.
    pub(crate) protected: bool,
}

/// What a scan came to.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) hits: Vec<Hit>,
    /// Bytes looked at.
    pub(crate) bytes: usize,
    /// Mappings that not even root can read, and their flags.
    pub(crate) unreadable: Vec<Mapping>,
}

/// A mapping as `/proc/PID/smaps` tells.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    start: usize,
    end: usize,
    pub(crate) description: String,
    pub(crate) flags: Vec<String>,
}

impl Mapping {
    /// Locked and left out of core dumps.
    pub(crate) fn is_protected(&self) -> bool {
        ["lo", "dd"].iter().all(|wanted| self.flags.iter().any(|flag| flag == wanted))
    }
}

impl Scan {
    /// Hits in memory that is not locked or not left out of dumps.
    pub(crate) fn outside(&self) -> Vec<&Hit> {
        self.hits.iter().filter(|hit| !hit.protected).collect()
    }

    /// Hits in protected memory, counted by needle.
    pub(crate) fn inside(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for hit in self.hits.iter().filter(|hit| hit.protected) {
            *counts.entry(hit.needle.as_str()).or_default() += 1;
        }
        counts
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at {:x} in {}", self.needle, self.kind, self.address, self.place)
    }
}

/// A needle's name, the kind of form, and its bytes.
type Sought = (String, &'static str, Vec<u8>);

/// The forms of all needles, ready to be looked for.
pub(crate) struct Scanner {
    by_begin: HashMap<[u8; INDEXED], Vec<Sought>>,
    /// Whether any form begins with these two bytes: most of memory ends here.
    candidates: Vec<bool>,
    pub(crate) forms: usize,
}

impl Scanner {
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let mut scanner = Self { by_begin: HashMap::new(), candidates: vec![false; 1 << 16], forms: 0 };
        for needle in needles {
            for form in needle.forms() {
                let begin = *form.bytes.first_chunk().unwrap();
                scanner.candidates[usize::from(u16::from_le_bytes([begin[0], begin[1]]))] = true;
                let entry = (needle.name.clone(), form.kind, form.bytes);
                scanner.by_begin.entry(begin).or_default().push(entry);
                scanner.forms += 1;
            }
        }
        scanner
    }

    /// Everything that `/proc/PID/mem` shows.
    pub(crate) fn process(&self, pid: u32) -> Scan {
        let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut scan = Scan::default();
        for mapping in mappings(pid) {
            match read(&memory, &mapping) {
                Some(bytes) => {
                    let (place, protected) = (mapping.description.clone(), mapping.is_protected());
                    self.find(&bytes, mapping.start, &place, protected, &mut scan);
                }
                None => scan.unreadable.push(mapping),
            }
        }
        scan
    }

    /// An ordinary core of the process, made by gdb: what a debugger or a dump would carry away.
    pub(crate) fn core(&self, pid: u32, folder: &Path) -> Scan {
        let path = folder.join("core");
        let made = Command::new("gdb")
            .args(["--batch", "-nx", "-p", &pid.to_string(), "-ex"])
            .arg(format!("generate-core-file {}", path.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stdout);
        assert!(said.contains("Saved corefile"), "{said}{}", String::from_utf8_lossy(&made.stderr));
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        let mut scan = Scan::default();
        self.find(&bytes, 0, "the core", false, &mut scan);
        scan
    }

    fn find(&self, bytes: &[u8], start: usize, place: &str, protected: bool, scan: &mut Scan) {
        scan.bytes += bytes.len();
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            let begin = number * PAGE;
            // In a page of zeros no form can begin but close to its end.
            let skipped = if page.iter().all(|byte| *byte == 0) { page.len().saturating_sub(64) } else { 0 };
            let end = bytes.len().min(begin + PAGE + INDEXED - 1);
            let windows = bytes[begin + skipped..end].windows(INDEXED);
            for (offset, window) in windows.enumerate() {
                if !self.candidates[usize::from(window[0]) | usize::from(window[1]) << 8] {
                    continue;
                }
                let at = begin + skipped + offset;
                for (needle, kind, form) in self.by_begin.get(window).into_iter().flatten() {
                    if bytes[at..].starts_with(form) {
                        let (needle, place) = (needle.clone(), place.to_owned());
                        scan.hits.push(Hit { needle, kind, address: start + at, place, protected });
                    }
                }
            }
        }
    }
}

/// Every mapping of a process.
fn mappings(pid: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags: ") {
            if let Some(mapping) = mappings.last_mut() {
                mapping.flags = flags.split_whitespace().map(str::to_owned).collect();
            }
        } else if let Some((start, end)) = range(line) {
            mappings.push(Mapping { start, end, description: line.to_owned(), flags: Vec::new() });
        }
    }
    assert!(mappings.len() > 10, "a process has more mappings than these: {text}");
    mappings
}

fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// The bytes of a mapping; `None` if no page of it can be read.
fn read(memory: &fs::File, mapping: &Mapping) -> Option<Vec<u8>> {
    let mut bytes = vec![0; mapping.end - mapping.start];
    if memory.read_exact_at(&mut bytes, mapping.start as u64).is_ok() {
        return Some(bytes);
    }
    let mut pages = 0;
    for (number, page) in bytes.chunks_mut(PAGE).enumerate() {
        let offset = (mapping.start + number * PAGE) as u64;
        pages += usize::from(memory.read_exact_at(page, offset).is_ok());
    }
    (pages > 0).then_some(bytes)
}
