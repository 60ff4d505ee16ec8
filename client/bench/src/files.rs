//! P5: a file of 1 GiB through `keyagent encrypt` and `decrypt`, beside `cat` and age, on a file system in memory.
//!
//! On all cores, as people have it: it runs before everything is pinned to one.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    measure::Series,
    programs::Client,
    server::{Daemon, Workplace},
    table::verdict,
};

/// Bytes of the file.
const BYTES: u64 = 1 << 30;
/// Rounds, after one that is thrown away.
const ROUNDS: usize = 5;
/// A file system in memory, on every Linux with glibc or musl.
const IN_MEMORY: &str = "/dev/shm";
/// Free bytes that are needed there: the file, what it becomes, and what that becomes.
const ROOM: u64 = 4 << 30;
/// How often the memory of a running process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Wall times, and the memory of our own processes.
pub(crate) struct Files {
    cat: Series,
    encrypt: Series,
    decrypt: Series,
    /// Encrypting and decrypting, where age is installed.
    age: Option<(Series, Series)>,
    /// The most that `encrypt` and `decrypt` had resident, in KiB.
    resident_kib: u64,
}

/// Measures, or says why not.
pub(crate) fn measure(
    place: &Workplace,
    daemon: &Path,
    client: Result<&Client, &String>,
) -> Result<Files, String> {
    let client = client.map_err(Clone::clone)?;
    let folder = Folder::make().map_err(|error| error.to_string())?;
    let daemon = Daemon::start(place, "files", daemon).map_err(|error| error.to_string())?;
    rounds(&folder.0, &daemon, client).map_err(|error| error.to_string())
}

/// The rows of the table.
pub(crate) fn rows(files: &Result<Files, String>) -> Vec<String> {
    let files = match files {
        Ok(files) => files,
        Err(why) => return vec![format!("| P5 | a file of 1 GiB | | not measured: {why} | | |")],
    };
    let mut rows = Vec::new();
    for (what, series) in [("encrypt", &files.encrypt), ("decrypt", &files.decrypt)] {
        let (typical, best) = (series.typical_ratio(&files.cat), series.best() / files.cat.best());
        rows.push(format!(
            "| P5 | `keyagent {what}` of 1 GiB, all cores | <= 1.5x `cat in > out` | {typical:.2}x | {best:.2}x | {} |",
            verdict(typical <= 1.5)
        ));
    }
    if let Some((sealed, opened)) = &files.age {
        for (what, age, ours) in [("encrypt", sealed, &files.encrypt), ("decrypt", opened, &files.decrypt)] {
            let (typical, best) = (age.typical_ratio(ours), age.best() / ours.best());
            rows.push(format!(
                "| P5 | age beside `keyagent {what}` | >= 1.8x as long | {typical:.2}x | {best:.2}x | {} |",
                verdict(typical >= 1.8)
            ));
        }
    } else {
        rows.push("| P5 | age beside it | >= 1.8x as long | not measured: age is not installed | | |".into());
    }
    rows.push(format!(
        "| P5 | memory of `encrypt` and `decrypt` | <= 32768 KiB | {} KiB | | {} |",
        files.resident_kib,
        verdict(files.resident_kib <= 32_768)
    ));
    let seconds = |series: &Series| series.typical() / 1e9;
    rows.push(format!(
        "| P5 | in seconds: cat, encrypt, decrypt | | {:.2}, {:.2}, {:.2} | | |",
        seconds(&files.cat),
        seconds(&files.encrypt),
        seconds(&files.decrypt)
    ));
    rows
}

/// A folder in memory, gone with everything in it when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Outcome<Self> {
        let free = nix::sys::statvfs::statvfs(IN_MEMORY)?;
        if free.blocks_available() * free.fragment_size() < ROOM {
            return Err(format!("{IN_MEMORY} has less than {} GiB free", ROOM >> 30).into());
        }
        let path = Path::new(IN_MEMORY).join(format!("keyagent-bench-{}", id()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("keyagent-bench: a folder is left over: {error}");
        }
    }
}

fn rounds(folder: &Path, daemon: &Daemon, client: &Client) -> Outcome<Files> {
    let (plain, sealed, opened) = (folder.join("plain"), folder.join("sealed"), folder.join("opened"));
    let (aged, identity) = (folder.join("aged"), folder.join("identity"));
    write_plain(&plain)?;
    let keyagent = |verb: &str, input: &Path| {
        let mut command = Command::new(&client.path);
        command.args([verb, "--no-autostart", "--socket"]).arg(&daemon.socket).arg(input);
        command
    };
    let recipient = recipient(&identity);
    let mut found = Files {
        cat: Series::default(),
        encrypt: Series::default(),
        decrypt: Series::default(),
        age: recipient.is_some().then(Default::default),
        resident_kib: 0,
    };
    for round in 0..=ROUNDS {
        let cat = time(Command::new("cat").arg(&plain), &opened)?;
        let encrypt = time(&mut keyagent("encrypt", &plain), &sealed)?;
        let decrypt = time(&mut keyagent("decrypt", &sealed), &opened)?;
        let mut age = None;
        if let Some(recipient) = &recipient {
            fs::remove_file(&sealed)?;
            let there = time(Command::new("age").args(["-e", "-r", recipient]).arg(&plain), &aged)?;
            let back = time(Command::new("age").args(["-d", "-i"]).arg(&identity).arg(&aged), &opened)?;
            fs::remove_file(&aged)?;
            age = Some((there, back));
        }
        if round == 0 {
            continue;
        }
        found.cat.push(cat);
        found.encrypt.push(encrypt);
        found.decrypt.push(decrypt);
        if let (Some((sealing, opening)), Some((there, back))) = (&mut found.age, age) {
            sealing.push(there);
            opening.push(back);
        }
    }
    // Once more for the memory, which costs time to look at.
    let there = resident(&mut keyagent("encrypt", &plain), &sealed)?;
    let back = resident(&mut keyagent("decrypt", &sealed), &opened)?;
    found.resident_kib = there.max(back);
    Ok(found)
}

fn write_plain(path: &Path) -> io::Result<()> {
    let block: Vec<u8> =
        (0..1 << 20_u32).map(|number: u32| number.wrapping_mul(0x9e37_79b1).to_le_bytes()[3]).collect();
    let mut file = File::create_new(path)?;
    (0..BYTES >> 20).try_for_each(|_| file.write_all(&block))
}

/// A recipient of age whose identity lies there now; `None` where age is not installed.
fn recipient(identity: &Path) -> Option<String> {
    let made = Command::new("age-keygen").arg("-o").arg(identity).stderr(Stdio::null()).status().ok()?;
    let text = fs::read_to_string(identity).ok().filter(|_| made.success())?;
    text.lines().find_map(|line| line.strip_prefix("# public key: ")).map(str::to_owned)
}

/// Wall time of a process that writes into a new file, in nanoseconds.
fn time(command: &mut Command, output: &Path) -> Outcome<f64> {
    let _ = fs::remove_file(output);
    let begin = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(File::create_new(output)?).status()?;
    let nanos = begin.elapsed().as_secs_f64() * 1e9;
    if status.success() { Ok(nanos) } else { Err(format!("a measured process ended with {status}").into()) }
}

/// The most that such a process had resident, in KiB.
fn resident(command: &mut Command, output: &Path) -> Outcome<u64> {
    let _ = fs::remove_file(output);
    let mut child = command.stdin(Stdio::null()).stdout(File::create_new(output)?).spawn()?;
    let mut most = 0;
    while child.try_wait()?.is_none() {
        most = most.max(peak_kib(&child).unwrap_or_default());
        sleep(LOOK);
    }
    Ok(most)
}

fn peak_kib(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
