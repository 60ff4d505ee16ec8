//! P9: what many keys and versions cost: a request, and a start.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use keyagent_common::name::KeyName;
use keyagent_core::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    keyring::{Class, Keyring, Reason, State},
};

use crate::{
    Outcome,
    connection::{self, Connection},
    measure::{Series, median_nanos},
    rounds::SMALL,
    server::{Daemon, Workplace},
};

/// Keys, and versions of each.
const SIZES: [(usize, u32); 4] = [(1, 1), (100, 10), (10_000, 1), (10_000, 10)];
/// Rounds, after one that is thrown away.
const ROUNDS: usize = 11;
/// Calls of one leg of a round, and most keys that it asks for in turn.
const CALLS: usize = 4000;
/// Starts of a daemon, the first of which is thrown away.
const STARTS: usize = 6;
const MADE_AT: u64 = 1_795_302_600;

/// One size of keyring.
#[derive(Default)]
pub(crate) struct Size {
    /// Keys.
    pub(crate) keys: usize,
    /// Versions of each.
    pub(crate) versions: u32,
    /// Encrypting 100 bytes under one key.
    pub(crate) same_key: Series,
    /// Under a thousand keys in turn, if there are so many.
    pub(crate) in_turn: Series,
    /// From the start of the process until it accepts connections.
    pub(crate) start: Series,
    /// Time of a processor that one start took, in milliseconds; the kernel counts in tens.
    pub(crate) start_processor_ms: u64,
    /// Locked memory of the process, in KiB.
    pub(crate) locked_kib: u64,
}

/// Measures all sizes, in turns.
pub(crate) fn measure(place: &Workplace, program: &Path) -> Outcome<Vec<Size>> {
    let mut daemons = Vec::new();
    let mut sizes = Vec::new();
    for (keys, versions) in SIZES {
        let (daemon, size) = started(place, program, keys, versions)?;
        daemons.push((Leg::new(&daemon, 1)?, Leg::new(&daemon, keys.min(CALLS / 4))?, daemon));
        sizes.push(size);
    }
    for round in 0..=ROUNDS {
        for ((same, turn, _), size) in daemons.iter_mut().zip(&mut sizes) {
            let (same, turn) = (same.time()?, turn.time()?);
            if round > 0 {
                size.same_key.push(same);
                size.in_turn.push(turn);
            }
        }
    }
    Ok(sizes)
}

/// A daemon with so many keys; the last one of several starts.
fn started(place: &Workplace, program: &Path, keys: usize, versions: u32) -> Outcome<(Daemon, Size)> {
    let name = format!("keys-{keys}-{versions}");
    make(&place.join(&name), keys, versions)?;
    let mut size = Size { keys, versions, ..Size::default() };
    // There is no log yet that the keyring could be compared with.
    drop(Daemon::start_with(place, &name, program, Some("--accept-rollback"))?);
    for _ in 1..STARTS {
        let (daemon, took) = Daemon::start_with(place, &name, program, None)?;
        size.start.push(took.as_secs_f64() * 1e9);
        drop(daemon);
    }
    let (daemon, _) = Daemon::start_with(place, &name, program, None)?;
    size.start_processor_ms = processor_ms(&daemon)?;
    let status = fs::read_to_string(daemon.proc_folder().join("status"))?;
    let locked =
        status.lines().find_map(|line| line.strip_prefix("VmLck:")).ok_or("no such line in /proc")?;
    size.locked_kib = locked.split_whitespace().next().unwrap_or_default().parse()?;
    Ok((daemon, size))
}

/// User and system time of a process so far.
fn processor_ms(daemon: &Daemon) -> Outcome<u64> {
    let stat = fs::read_to_string(daemon.proc_folder().join("stat"))?;
    let (_, behind_the_name) = stat.rsplit_once(')').ok_or("no name in /proc")?;
    let times = behind_the_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks * 10)
}

/// A thousand requests in turn, or the same one again and again.
struct Leg {
    connection: Connection,
    requests: Vec<Vec<u8>>,
    reply_bytes: usize,
    next: usize,
}

impl Leg {
    fn new(daemon: &Daemon, keys: usize) -> Outcome<Self> {
        let names = (0..keys).map(|number| if number == 0 { "default".to_owned() } else { name(number) });
        let requests = names
            .map(|name| connection::encrypt_under(&name, &[7; SMALL], 1))
            .collect::<Outcome<Vec<_>>>()?;
        let mut connection = Connection::greeted(&daemon.socket)?;
        let mut reply_bytes = 0;
        // The first use of a version waits for the disk: a count must not be lost.
        for request in &requests {
            reply_bytes = connection.learn(request, 1)?;
        }
        Ok(Self { connection, requests, reply_bytes, next: 0 })
    }

    fn time(&mut self) -> Outcome<f64> {
        let Self { connection, requests, reply_bytes, next } = self;
        median_nanos(CALLS, || {
            *next = (*next + 1) % requests.len();
            let request = requests.get(*next).map_or(&[][..], Vec::as_slice);
            Ok(connection.exchange(request, *reply_bytes)?)
        })
    }
}

struct Random(fs::File);

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        std::io::Read::read_exact(&mut self.0, out).map_err(|_| EntropyFailed)
    }
}

/// Names of one length, so that all requests have one length.
fn name(number: usize) -> String {
    format!("t{number:06}")
}

/// A state folder with a master key and a keyring of so many keys; the last version of each is primary.
fn make(state: &Path, keys: usize, versions: u32) -> Outcome<()> {
    let config = state.join("config/keyagent");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&config)?;
    let mut random = Random(fs::File::open("/dev/urandom")?);
    let mut master = [0; 32];
    random.fill(&mut master)?;
    let text = master.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let mut key = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(config.join("key"))?;
    key.write_all(text.as_bytes())?;
    let (keyring, _) = Keyring::create(&HeapArena, &master, &mut random, MADE_AT)?;
    let mut draft = keyring.draft();
    for number in 1..keys {
        draft.add_key(KeyName::parse(&name(number))?, Class::Message, &mut random, MADE_AT)?;
    }
    for number in 1..keys {
        for _ in 1..versions {
            draft.push_version(&name(number), Reason::Manual, &mut random, MADE_AT)?;
        }
    }
    for key in draft.keys_mut() {
        let last = key.versions.last().map(|version| version.number);
        for version in &mut key.versions {
            version.state = if Some(version.number) == last { State::Primary } else { State::Grace };
        }
    }
    Ok(fs::write(state.join("keyring"), draft.prepare(None, &mut random)?.bytes)?)
}
