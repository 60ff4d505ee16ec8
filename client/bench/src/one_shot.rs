//! P6: one process per call, `keyagent encrypt` of 1 KB beside `/bin/true`.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Outcome,
    measure::{Series, median_nanos},
    programs::Client,
    server::{Daemon, Workplace},
};

/// Rounds, after one that is thrown away.
const ROUNDS: usize = 15;
/// Processes of each kind in a round.
const CALLS: usize = 40;
/// Bytes to encrypt.
const BYTES: usize = 1000;

/// What was found.
pub(crate) struct OneShot {
    /// `keyagent encrypt`.
    pub(crate) encrypt: Series,
    /// `/bin/true`.
    pub(crate) nothing: Series,
    /// How the client is linked.
    pub(crate) linkage: &'static str,
}

/// Measures, or says why not.
pub(crate) fn measure(
    place: &Workplace,
    daemon: &Daemon,
    client: Result<&Client, &String>,
) -> Result<OneShot, String> {
    let client = client.map_err(Clone::clone)?;
    rounds(place, daemon, client).map_err(|error| error.to_string())
}

fn rounds(place: &Workplace, daemon: &Daemon, client: &Client) -> Outcome<OneShot> {
    let plaintext = place.join("one-kilobyte");
    fs::write(&plaintext, [b'k'; BYTES])?;
    let encrypt = || {
        let mut command = Command::new(&client.path);
        command.args(["encrypt", "--no-autostart", "--socket"]).arg(&daemon.socket);
        once(command, &plaintext)
    };
    let nothing = || once(Command::new("/bin/true"), &plaintext);
    encrypt()?;
    let mut found =
        OneShot { encrypt: Series::default(), nothing: Series::default(), linkage: client.linkage };
    for round in 0..=ROUNDS {
        let (with, without) = (median_nanos(CALLS, encrypt)?, median_nanos(CALLS, nothing)?);
        if round > 0 {
            found.encrypt.push(with);
            found.nothing.push(without);
        }
    }
    Ok(found)
}

fn once(mut command: Command, input: &Path) -> Outcome<()> {
    let status = command.stdin(File::open(input)?).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("the process ended with {status}").into()) }
}
