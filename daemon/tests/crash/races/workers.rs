//! Clients that ask for anything at random, and write down what they were told.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{
        Decrypt, DecryptRequest, Encrypt, EncryptReply, EncryptRequest, KeyDestroy, KeyDestroyReply,
        KeyDestroyRequest, KeyDisable, KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyPromote,
        KeyReinstate, KeyRetire, KeyRotate, KeyRotateReply, KeyRotateRequest, KeyShow, KeyShowReply,
        KeyShowRequest, KeyStanding, KeysChangedReply, Operation, Takeover, VersionReply, VersionRequest,
    },
};

use super::model::{COMPROMISED, Change, DISABLED, Event, Intent, KeyState, What};
use crate::support::{Client, client};

/// Keys that everybody works on.
pub(crate) const KEYS: usize = 5;
/// Rotations of a key in one run: what is shown of a key is one frame.
const MOST_VERSIONS: u32 = 150;

/// Name of a key.
pub(crate) fn name(key: usize) -> String {
    format!("shared/{key}")
}

/// What all workers share.
pub(crate) struct Field {
    socket: PathBuf,
    begun: Instant,
    /// Held by everybody with a request under way; taken whole by whoever starts the next daemon.
    pub(crate) gate: RwLock<Mutex<Vec<Event>>>,
    values: Mutex<Vec<(usize, u32, Vec<u8>)>>,
}

impl Field {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, begun: Instant::now(), gate: RwLock::default(), values: Mutex::default() }
    }

    /// Every value that was acknowledged: key, version, envelope.
    pub(crate) fn values(&self) -> Vec<(usize, u32, Vec<u8>)> {
        self.values.lock().unwrap().clone()
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos().try_into().unwrap()
    }
}

/// What stands in the keyring, as it is shown; what stopped versions go back to, as far as it was known before.
pub(crate) fn look(client: &mut Client, before: &[KeyState]) -> Vec<KeyState> {
    let mut state = |key: usize| {
        let body = client.ask::<KeyShow>(&KeyShowRequest { key: &name(key) }).success().unwrap();
        let KeyShowReply { key: entry, .. } = codec::decode(&body).unwrap();
        let versions: BTreeMap<u32, u8> =
            entry.versions.iter().map(|version| (version.number, version.state)).collect();
        let stopped = |version: &u32| matches!(versions.get(version), Some(&(DISABLED | COMPROMISED)));
        let known = before.get(key).map(|state| state.before.clone()).unwrap_or_default();
        let known = known.into_iter().filter(|(version, _)| stopped(version)).collect();
        KeyState { versions, before: known, standing: entry.standing }
    };
    (0..KEYS).map(&mut state).collect()
}

/// Numbers that look like chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// Asks until it is told to stop.
pub(crate) fn work(field: &Field, seed: u64, stop: &AtomicBool) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let gate = field.gate.read().unwrap();
        let Some(client) = connection.as_mut() else {
            connection = connect(field).ok();
            drop(gate);
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let key = chance.below(KEYS);
        let begun = field.now();
        let asked = ask_anything(field, client, key, &mut chance);
        let what = match asked {
            Ok(what) => what,
            Err(intent) => {
                connection = None;
                intent.map(What::MayHaveChanged)
            }
        };
        if let Some(what) = what {
            gate.lock().unwrap().push(Event { key, begun, ended: field.now(), what });
        }
    }
}

fn connect(field: &Field) -> io::Result<Client> {
    let mut client = Client::connect(&field.socket)?;
    client.send(&client::hello(0))?;
    let greeted = client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if greeted.code == 0 { Ok(client) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

/// A reply, or the connection is gone.
fn ask<O: Operation>(client: &mut Client, body: &O::Request<'_>) -> io::Result<Result<Vec<u8>, ErrorCode>> {
    client.send(&client::request::<O>(1, body))?;
    Ok(client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?.success())
}

/// One request; an error says what it may have changed.
fn ask_anything(
    field: &Field,
    client: &mut Client,
    key: usize,
    chance: &mut Chance,
) -> Result<Option<What>, Option<Intent>> {
    match chance.below(100) {
        0..35 => seal(field, client, key).map_err(|_| None),
        35..70 => open(field, client, chance, key).map_err(|_| None),
        number => {
            let version = 1 + u32::try_from(chance.below(20)).unwrap();
            // Versions that are near the newest are the ones that change.
            let newest = newest(client, key).map_err(|_| None)?;
            let version = newest.saturating_sub(version - 1).max(1);
            change(client, key, version, number - 70, chance).map_err(|_| Some(intent(version, number - 70)))
        }
    }
}

fn seal(field: &Field, client: &mut Client, key: usize) -> io::Result<Option<What>> {
    let name = name(key);
    let body = EncryptRequest { key: &name, context: EMPTY, plaintext: name.as_bytes() };
    match ask::<Encrypt>(client, &body)? {
        Ok(body) => {
            let EncryptReply { version, envelope } = codec::decode(&body).unwrap();
            let mut values = field.values.lock().unwrap();
            if values.len() < 50_000 {
                values.push((key, version, envelope.to_vec()));
            }
            Ok(Some(What::Sealed { version }))
        }
        Err(error) => {
            expect(error, &[ErrorCode::KeyDisabled, ErrorCode::KeyCompromised]);
            Ok(None)
        }
    }
}

fn open(field: &Field, client: &mut Client, chance: &mut Chance, key: usize) -> io::Result<Option<What>> {
    let value = {
        let values = field.values.lock().unwrap();
        let of_key: Vec<_> = values.iter().rev().filter(|(of, ..)| *of == key).take(200).collect();
        if of_key.is_empty() { None } else { Some(of_key[chance.below(of_key.len())].clone()) }
    };
    let Some((_, version, envelope)) = value else { return Ok(None) };
    match ask::<Decrypt>(client, &DecryptRequest { context: EMPTY, envelope: &envelope })? {
        Ok(_) => Ok(Some(What::Opened { version, success: true })),
        Err(error) => {
            use ErrorCode::{KeyCompromised, KeyDisabled, UnknownKeyId, VersionRetired, VersionStopped};
            expect(error, &[KeyDisabled, KeyCompromised, UnknownKeyId, VersionRetired, VersionStopped]);
            Ok(Some(What::Opened { version, success: false }))
        }
    }
}

fn expect(error: ErrorCode, expected: &[ErrorCode]) {
    assert!(expected.contains(&error), "{error:?}");
}

/// What a change that was asked for may do.
fn intent(version: u32, number: usize) -> Intent {
    match number {
        0..6 => Intent::Rotation,
        6..9 => Intent::Promotion,
        25..29 => Intent::Standing,
        _ => Intent::Version(version),
    }
}

fn change(
    client: &mut Client,
    key: usize,
    version: u32,
    number: usize,
    chance: &mut Chance,
) -> io::Result<Option<What>> {
    let name = name(key);
    let reason = "a race";
    let request = VersionRequest { key: &name, version, reason };
    let brake = |version, compromised| KeyDisableRequest { key: &name, version, compromised, reason };
    let lift = |version| KeyEnableRequest { key: &name, version, lift_compromised: true, reason };
    Ok(match number {
        0..6 => rotate(client, &name, version, chance)?,
        6..9 => moved(&ask::<KeyPromote>(client, &VersionRequest { version: 0, ..request })?),
        9..14 => moved(&ask::<KeyRetire>(client, &request)?),
        14..18 => moved(&ask::<KeyReinstate>(client, &request)?),
        18..21 => changed(
            &ask::<KeyDisable>(client, &brake(version, false))?,
            Change::Stopped { version, to: DISABLED },
        ),
        21..22 => changed(
            &ask::<KeyDisable>(client, &brake(version, true))?,
            Change::Stopped { version, to: COMPROMISED },
        ),
        22..25 => changed(&ask::<KeyEnable>(client, &lift(version))?, Change::Released { version }),
        25..26 => {
            changed(&ask::<KeyDisable>(client, &brake(0, false))?, Change::Braked(KeyStanding::Disabled))
        }
        26..29 => changed(&ask::<KeyEnable>(client, &lift(0))?, Change::Braked(KeyStanding::Active)),
        _ => destroyed(&ask::<KeyDestroy>(
            client,
            &KeyDestroyRequest { key: &name, version, force: true, reason },
        )?),
    })
}

/// The newest version of a key at the moment.
fn newest(client: &mut Client, key: usize) -> io::Result<u32> {
    // Not a list: that is shorter than it could be where keys have many versions.
    let Ok(body) = ask::<KeyShow>(client, &KeyShowRequest { key: &name(key) })? else { return Ok(1) };
    let reply: KeyShowReply<'_> = codec::decode(&body).unwrap();
    Ok(reply.key.versions.last().map_or(1, |version| version.number))
}

fn rotate(client: &mut Client, key: &str, about: u32, chance: &mut Chance) -> io::Result<Option<What>> {
    if about > MOST_VERSIONS {
        return Ok(None);
    }
    let takeover = [Takeover::Staged, Takeover::Grace, Takeover::Grace, Takeover::RefuseOld][chance.below(4)];
    let request = KeyRotateRequest { key, reason: 5, takeover, lift: KeyStanding::Active, note: "a race" };
    let Ok(body) = ask::<KeyRotate>(client, &request)? else { return Ok(None) };
    let reply: KeyRotateReply = codec::decode(&body).unwrap();
    let KeyRotateReply { version, replaced, replaced_state, generation, .. } = reply;
    Ok(Some(What::Changed(generation, Change::Rotated { version, replaced, replaced_state })))
}

fn moved(reply: &Result<Vec<u8>, ErrorCode>) -> Option<What> {
    let reply: VersionReply = codec::decode(reply.as_ref().ok()?).unwrap();
    let VersionReply { version, from, to, replaced, generation, .. } = reply;
    (from != to).then_some(What::Changed(generation, Change::Moved { version, from, to, replaced }))
}

fn changed(reply: &Result<Vec<u8>, ErrorCode>, change: Change) -> Option<What> {
    let reply: KeysChangedReply = codec::decode(reply.as_ref().ok()?).unwrap();
    (reply.changed > 0).then_some(What::Changed(reply.generation, change))
}

fn destroyed(reply: &Result<Vec<u8>, ErrorCode>) -> Option<What> {
    let reply: KeyDestroyReply<'_> = codec::decode(reply.as_ref().ok()?).unwrap();
    let gone = !reply.destroyed.is_empty();
    gone.then_some(What::Changed(reply.generation, Change::Destroyed(reply.destroyed)))
}
