//! What a history of requests on keys must look like: changes happen one after the other, in the order of the
//! generations that their answers name, each does what the table of states allows, and every look in between sees
//! one of the states that there were at the time.

use std::collections::BTreeMap;

use keyagent_common::op::KeyStanding;

/// States of versions, as on the wire.
pub(crate) const STAGED: u8 = 1;
pub(crate) const PRIMARY: u8 = 2;
pub(crate) const GRACE: u8 = 3;
pub(crate) const RETIRED: u8 = 4;
pub(crate) const DISABLED: u8 = 5;
pub(crate) const COMPROMISED: u8 = 6;
pub(crate) const DESTROYED: u8 = 7;

/// Nobody knows: what a version was before it was stopped is not told.
const UNKNOWN: u8 = 0;

/// One key: its versions by number, and whether it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyState {
    pub(crate) versions: BTreeMap<u32, u8>,
    /// What stopped versions go back to, as far as it is known.
    pub(crate) before: BTreeMap<u32, u8>,
    pub(crate) standing: KeyStanding,
}

impl KeyState {
    /// Whether a value opens; `None` where nobody knows.
    pub(crate) fn opens(&self, version: u32) -> Option<bool> {
        match self.versions.get(&version) {
            _ if self.standing != KeyStanding::Active => Some(false),
            Some(&UNKNOWN) => None,
            state => Some(matches!(state, Some(&(STAGED | PRIMARY | GRACE)))),
        }
    }

    /// Whether this may be what was found, if some of the intents were carried out.
    fn agrees_with(&self, found: &Self, intents: &[Intent]) -> bool {
        let rotates = intents.contains(&Intent::Rotation);
        let takes_over = rotates || intents.contains(&Intent::Promotion);
        let may_differ = |version: u32, state: u8| {
            state == UNKNOWN
                || intents.contains(&Intent::Version(version))
                || (takes_over && matches!(state, STAGED | PRIMARY))
        };
        let newest = self.versions.keys().next_back().copied().unwrap_or_default();
        let explained = |(version, state): (&u32, &u8)| match self.versions.get(version) {
            Some(known) => known == state || may_differ(*version, *known),
            None => rotates && *version > newest,
        };
        (self.standing == found.standing || intents.contains(&Intent::Standing))
            && found.versions.iter().all(explained)
            && self.versions.keys().all(|version| found.versions.contains_key(version))
    }

    fn step(&mut self, version: u32, allowed: &[u8], to: u8) -> Result<(), String> {
        let from = *self.versions.get(&version).ok_or("there is no such version")?;
        if from != UNKNOWN && !allowed.contains(&from) {
            return Err(format!("version {version} was {from}"));
        }
        match (from, to) {
            (DISABLED, COMPROMISED) => {}
            (_, DISABLED | COMPROMISED) => drop(self.before.insert(version, from)),
            _ => drop(self.before.remove(&version)),
        }
        self.versions.insert(version, to);
        Ok(())
    }

    fn seals(&self, version: u32) -> bool {
        self.standing == KeyStanding::Active && self.versions.get(&version) == Some(&PRIMARY)
    }

    fn has_primary(&self) -> bool {
        self.versions.values().filter(|state| **state == PRIMARY).count() == 1
    }
}

/// What an acknowledged change says that it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new version; the one that was primary before, and its state now.
    Rotated { version: u32, replaced: u32, replaced_state: u8 },
    /// A version went from one state to another; what it replaced as the primary one, or 0.
    Moved { version: u32, from: u8, to: u8, replaced: u32 },
    /// A version was disabled, or marked as compromised.
    Stopped { version: u32, to: u8 },
    /// It is back.
    Released { version: u32 },
    /// The whole key is served or not.
    Braked(KeyStanding),
    /// Versions are gone.
    Destroyed(Vec<u32>),
}

/// What a change that nobody answered may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// A new version, in place of the primary one or staged.
    Rotation,
    /// A staged version became primary.
    Promotion,
    /// Something became of this version.
    Version(u32),
    /// The whole key is served or not.
    Standing,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A change was made, in this generation.
    Changed(u64, Change),
    /// A change was asked for, and the daemon died.
    MayHaveChanged(Intent),
    /// A value opened, or was refused.
    Opened { version: u32, success: bool },
    /// A value was sealed by this version.
    Sealed { version: u32 },
}

/// A request, and when it was under way, in nanoseconds of one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) key: usize,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) what: What,
}

/// What happened between two starts of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Epoch {
    pub(crate) before: Vec<KeyState>,
    pub(crate) events: Vec<Event>,
    pub(crate) after: Vec<KeyState>,
}

/// A state that a key had, and while which request it came about.
struct Stage {
    state: KeyState,
    begun: u64,
    ended: u64,
}

impl Epoch {
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_order()?;
        (0..self.before.len()).try_for_each(|key| self.check_key(key))
    }

    fn changes(&self) -> Vec<(u64, &Event, &Change)> {
        let changes = self.events.iter().filter_map(|event| match &event.what {
            What::Changed(generation, change) => Some((*generation, event, change)),
            _ => None,
        });
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_key(|(generation, ..)| *generation);
        changes
    }

    /// Each generation is one change, and no change is older than one that was answered before it was asked for.
    fn check_order(&self) -> Result<(), String> {
        let changes = self.changes();
        let mut latest_begin = 0;
        for pair in changes.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(format!("two changes in one generation: {pair:?}"));
            }
        }
        for (generation, event, change) in changes {
            if event.ended < latest_begin {
                return Err(format!("generation {generation} came too late: {change:?}"));
            }
            latest_begin = latest_begin.max(event.begun);
        }
        Ok(())
    }

    fn stages(&self, key: usize) -> Result<Vec<Stage>, String> {
        let mut stages = vec![Stage { state: self.before[key].clone(), begun: 0, ended: 0 }];
        for (generation, event, change) in self.changes().into_iter().filter(|(_, event, _)| event.key == key)
        {
            let mut state = stages.last().unwrap().state.clone();
            apply(&mut state, change)
                .map_err(|why| format!("key {key}, generation {generation}: {why}: {change:?}, {state:?}"))?;
            stages.push(Stage { state, begun: event.begun, ended: event.ended });
        }
        Ok(stages)
    }

    fn check_key(&self, key: usize) -> Result<(), String> {
        let stages = self.stages(key)?;
        let of_key = || self.events.iter().filter(|event| event.key == key);
        let unanswered = of_key().filter_map(|event| match event.what {
            What::MayHaveChanged(intent) => Some((event.begun, intent)),
            _ => None,
        });
        let (begun, intents): (Vec<u64>, Vec<Intent>) = unanswered.unzip();
        let unknown_from = begun.into_iter().min();
        for event in of_key() {
            // Whatever may have been done besides, can explain it.
            if unknown_from.is_none_or(|from| event.ended < from) {
                check_look(&stages, event).map_err(|why| format!("key {key}: {why}"))?;
            }
        }
        let (last, found) = (&stages.last().unwrap().state, &self.after[key]);
        if !last.agrees_with(found, &intents) {
            return Err(format!("key {key}: {found:?} was found, not {last:?} with {intents:?}"));
        }
        // Even then nothing that is gone comes back, and one version is primary.
        let destroyed = last.versions.iter().filter(|(_, state)| **state == DESTROYED);
        if let Some((version, _)) =
            destroyed.into_iter().find(|(version, _)| found.versions[version] != DESTROYED)
        {
            return Err(format!("key {key}: version {version} was destroyed, and is there"));
        }
        if found.has_primary() {
            Ok(())
        } else {
            Err(format!("key {key}: not one primary version: {found:?}"))
        }
    }
}

/// The table of docs/FORMATS.md, section 3, "States".
fn apply(state: &mut KeyState, change: &Change) -> Result<(), String> {
    match change {
        Change::Rotated { version, replaced, replaced_state } => {
            if state.versions.keys().any(|known| known >= version) {
                return Err("the number is not new".into());
            }
            if *replaced == 0 {
                state.versions.insert(*version, STAGED);
            } else {
                state.step(*replaced, &[PRIMARY], *replaced_state)?;
                state.versions.insert(*version, PRIMARY);
            }
        }
        Change::Moved { version, from, to, replaced } => {
            if ![(STAGED, PRIMARY), (GRACE, RETIRED), (RETIRED, GRACE)].contains(&(*from, *to)) {
                return Err("no such step".into());
            }
            if *replaced != 0 {
                state.step(*replaced, &[PRIMARY], GRACE)?;
            }
            state.step(*version, &[*from], *to)?;
        }
        Change::Stopped { version, to: COMPROMISED } => {
            state.step(*version, &[STAGED, GRACE, RETIRED, DISABLED], COMPROMISED)?;
        }
        Change::Stopped { version, to } => state.step(*version, &[STAGED, GRACE, RETIRED], *to)?,
        Change::Released { version } => {
            let before = state.before.get(version).copied().unwrap_or(UNKNOWN);
            state.step(*version, &[DISABLED, COMPROMISED], before)?;
        }
        Change::Braked(standing) => state.standing = *standing,
        Change::Destroyed(versions) => {
            for version in versions {
                state.step(*version, &[RETIRED, DISABLED, COMPROMISED], DESTROYED)?;
            }
        }
    }
    if state.has_primary() { Ok(()) } else { Err("not one primary version".into()) }
}

/// A look must agree with one of the states that there may have been while it was under way.
fn check_look(stages: &[Stage], event: &Event) -> Result<(), String> {
    let first = stages.iter().rposition(|stage| stage.ended < event.begun).unwrap_or(0);
    let behind = stages.iter().position(|stage| stage.begun > event.ended).unwrap_or(stages.len());
    let agrees = |stage: &Stage| match event.what {
        What::Opened { version, success } => stage.state.opens(version).is_none_or(|opens| opens == success),
        What::Sealed { version } => stage.state.seals(version),
        _ => true,
    };
    if stages[first..behind.max(first + 1)].iter().any(agrees) {
        return Ok(());
    }
    Err(format!("{event:?}, but {:?}", stages[first].state))
}
