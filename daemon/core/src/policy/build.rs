//! From texts to rules: whatever cannot be enforced exactly as written is refused, with the remedy.

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    collections::BTreeSet,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use keyagent_common::{context, report};
use sha2::{Digest, Sha256};

use super::{
    DelegateSpec, Mode, OVERFLOW_ID, Policy, PolicyError, PolicySpec, Rate, RuleSpec, Who,
    callers::Callers,
    operations::{self, Kind, Operations},
    pattern::{Names, Pattern},
    rule::{Delegate, Rule},
    subjects,
};

/// Most rules.
const MAX_RULES: usize = 1024;
/// Most entries of one list.
const MAX_ENTRIES: usize = 256;
/// Most combinations of uid, gid and unit in one rule.
const MAX_COMBINATIONS: usize = 1024;
/// Most bytes of a rule's or socket's name.
const MAX_NAME_BYTES: usize = 64;
/// Longest period of a rate, in seconds.
const MAX_PERIOD_SECONDS: u32 = 86_400;

/// Whether a uid or gid can be somebody's: not the overflow id, not "none".
pub(super) const fn is_usable_id(id: u32) -> bool {
    id != OVERFLOW_ID && id != u32::MAX
}

/// Where an error is.
#[derive(Clone, Copy)]
struct Place<'n>(Option<&'n str>);

impl Place<'_> {
    fn refuse(self, field: &'static str, why: impl Into<String>, fix: impl Into<String>) -> PolicyError {
        PolicyError { rule: self.0.map(ToOwned::to_owned), field, why: why.into(), fix: fix.into() }
    }
}

/// Checks and compiles.
pub(super) fn build(spec: PolicySpec) -> Result<Policy, PolicyError> {
    let digest = digest(&spec);
    let PolicySpec { mode, admins, operators, rules } = spec;
    let top = Place(None);
    if let Mode::User { owner } = mode
        && !is_usable_id(owner)
    {
        return Err(top.refuse(
            "mode",
            format!("uid {owner} is nobody's"),
            "run the daemon as a user of its own",
        ));
    }
    if rules.len() > MAX_RULES {
        let why = format!("{} rules; at most {MAX_RULES} are possible", rules.len());
        return Err(top.refuse("rules", why, "let one rule speak for a group or for several units"));
    }
    let policy = Policy {
        mode,
        admins: role(top, "admins", admins)?,
        operators: role(top, "operators", operators)?,
        rules: build_rules(rules)?,
        digest,
    };
    if policy.subject_bytes() > subjects::MAX_BYTES {
        let why = "names more users, groups and units than can be kept with a key (65535 bytes)";
        return Err(top.refuse("rules", why, "put the users into a group and name the group"));
    }
    Ok(policy)
}

/// SHA-256 over an unambiguous text of the policy.
pub(super) fn digest(spec: &PolicySpec) -> [u8; 32] {
    // `Debug` of these types quotes and escapes every text and names every field.
    Sha256::digest(format!("{spec:?}")).into()
}

fn role(place: Place<'_>, field: &'static str, who: Who) -> Result<Callers, PolicyError> {
    if who.is_empty() { Ok(Callers::default()) } else { callers(place, field, who) }
}

fn build_rules(specs: Vec<RuleSpec>) -> Result<Box<[Rule]>, PolicyError> {
    let mut names = BTreeSet::new();
    let mut rules = Vec::with_capacity(specs.len());
    for spec in specs {
        let rule = rule(spec)?;
        if !names.insert(Arc::clone(&rule.name)) {
            let why = "two rules have this name";
            return Err(Place(Some(&rule.name)).refuse("name", why, "give each rule a name of its own"));
        }
        rules.push(rule);
    }
    Ok(rules.into_boxed_slice())
}

fn rule(spec: RuleSpec) -> Result<Rule, PolicyError> {
    let RuleSpec { name, who, keys, allow, rate, require_context, no_reveal, delegate } = spec;
    let place = Place(Some(&name));
    check_name(place, "name", &name)?;
    let rule = Rule {
        name: Arc::from(name.as_str()),
        who: callers(place, "who", who)?,
        keys: patterns(place, "keys", &keys, Names::Keys)?,
        allow: allowed(place, &allow)?,
        rate,
        require_context: context_names(place, require_context)?,
        no_reveal,
        delegate: delegate.map(|delegate| build_delegate(place, delegate)).transpose()?,
    };
    check_scope(place, &rule)?;
    check_obligations(place, &rule)?;
    Ok(rule)
}

fn check_name(place: Place<'_>, field: &'static str, name: &str) -> Result<(), PolicyError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || report::escape(name) != name {
        let why = format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters");
        return Err(place.refuse(field, why, "write a short word"));
    }
    Ok(())
}

fn check_length(place: Place<'_>, field: &'static str, length: usize) -> Result<(), PolicyError> {
    if length > MAX_ENTRIES {
        let why = format!("{length} entries; a list has at most {MAX_ENTRIES}");
        return Err(place.refuse(field, why, "write several rules, or name a group instead of its members"));
    }
    Ok(())
}

fn callers(place: Place<'_>, field: &'static str, who: Who) -> Result<Callers, PolicyError> {
    let Who { uids, gids, units, sockets } = who;
    check_length(place, "sockets", sockets.len())?;
    for socket in &sockets {
        check_name(place, "sockets", socket)?;
    }
    let callers = Callers {
        uids: ids(place, "uids", uids)?,
        gids: ids(place, "gids", gids)?,
        units: patterns(place, "units", &units, Names::Units)?,
        sockets: sockets.into_iter().map(String::into_boxed_str).collect(),
    };
    if !callers.names_somebody() {
        let why = "names no user, group or unit, so it would be about everybody";
        return Err(place.refuse(field, why, "add uids, gids or units"));
    }
    let combinations: usize =
        [callers.uids.len(), callers.gids.len(), callers.units.len()].iter().map(|n| *n.max(&1)).product();
    if combinations > MAX_COMBINATIONS {
        let why = format!("{combinations} combinations of uid, gid and unit; at most {MAX_COMBINATIONS}");
        return Err(place.refuse(
            field,
            why,
            "name fewer users beside fewer groups and units, or split the rule",
        ));
    }
    Ok(callers)
}

fn ids(place: Place<'_>, field: &'static str, mut ids: Vec<u32>) -> Result<Box<[u32]>, PolicyError> {
    check_length(place, field, ids.len())?;
    if let Some(id) = ids.iter().find(|id| !is_usable_id(**id)) {
        let why = format!("{id} is nobody's id: the kernel shows it for whoever is not mapped");
        return Err(place.refuse(field, why, "give the service a user or group of its own"));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.into_boxed_slice())
}

fn patterns(
    place: Place<'_>,
    field: &'static str,
    texts: &[String],
    names: Names,
) -> Result<Box<[Pattern]>, PolicyError> {
    check_length(place, field, texts.len())?;
    let parse =
        |text: &String| Pattern::parse(text, names).map_err(|bad| place.refuse(field, bad.why, bad.fix));
    texts.iter().map(parse).collect()
}

fn allowed(place: Place<'_>, words: &[String]) -> Result<Operations, PolicyError> {
    check_length(place, "allow", words.len())?;
    let mut all = Operations::default();
    for word in words {
        let operations = operations::parse(word).map_err(|fix| {
            place.refuse("allow", format!("{:?} is no operation", report::escape(word)), fix)
        })?;
        all = all.with(operations);
    }
    if all.is_empty() {
        return Err(place.refuse("allow", "allows nothing", "name operations, or `data` for all on data"));
    }
    let agent = all.shared_with(Operations::of_kind(Kind::Agent)).without(Operations::AGENT_BY_RULE);
    if let Some(operation) = agent.iter().next() {
        let why = format!("no rule can give `{}`: it concerns everybody", operation.name());
        return Err(place.refuse("allow", why, remedy(operation)));
    }
    Ok(all)
}

fn remedy(operation: keyagent_common::op::OperationCode) -> &'static str {
    if Operations::HELLO.contains(operation) {
        "leave it out: whoever may connect may say hello, and a batch needs the rights of its items"
    } else if Operations::OPERATOR.contains(operation) {
        "make it an operator: add the caller to `operators`"
    } else {
        "make it an admin: add the caller to `admins`"
    }
}

fn context_names(place: Place<'_>, names: Vec<String>) -> Result<Box<[Box<str>]>, PolicyError> {
    let field = "require_context";
    if names.len() > context::MAX_PAIRS {
        let why = format!("{} names, but a context has at most {}", names.len(), context::MAX_PAIRS);
        return Err(place.refuse(field, why, "require fewer names"));
    }
    let pairs = names.iter().map(|name| (name.as_str(), &b""[..]));
    context::encode(pairs).map_err(|error| {
        place.refuse(field, error.to_string(), "write names as `-c NAME=VALUE` takes them, each once")
    })?;
    Ok(names.into_iter().map(String::into_boxed_str).collect())
}

fn build_delegate(place: Place<'_>, spec: DelegateSpec) -> Result<Delegate, PolicyError> {
    let DelegateSpec { callers: who, keys } = spec;
    if !who.sockets.is_empty() {
        let why = "a caller that is asked for came through no socket of this daemon";
        return Err(place.refuse("delegate.callers", why, "leave sockets out of delegate.callers"));
    }
    if keys.is_empty() {
        let why = "names no keys, so it could never be used";
        return Err(place.refuse("delegate.keys", why, "add the patterns of the keys it may ask for"));
    }
    Ok(Delegate {
        callers: callers(place, "delegate.callers", who)?,
        keys: patterns(place, "delegate.keys", &keys, Names::Keys)?,
    })
}

/// Keys where there are operations that have one, and nowhere else.
fn check_scope(place: Place<'_>, rule: &Rule) -> Result<(), PolicyError> {
    let (data, keys) = (Operations::of_kind(Kind::Data), Operations::of_kind(Kind::Keys));
    let on_keys = rule.allow.shared_with(data.with(keys));
    if on_keys.is_empty() && !rule.keys.is_empty() {
        let why = format!("none of its operations ({}) has a key", rule.allow.words());
        return Err(place.refuse("keys", why, "leave keys out, or allow operations on keys or data"));
    }
    if rule.delegate.is_some() && rule.allow.shared_with(data).is_empty() {
        let why = "only operations on data can be asked for others, and it allows none";
        return Err(place.refuse("delegate", why, "allow operations on data, or leave delegate out"));
    }
    // A delegate without keys of its own uses them for others only.
    let needs_keys = if rule.delegate.is_some() { rule.allow.shared_with(keys) } else { on_keys };
    if rule.keys.is_empty() && !needs_keys.is_empty() {
        let why = format!("names no keys for {}", needs_keys.words());
        return Err(place.refuse("keys", why, "add key names or patterns; `**` stands for every key"));
    }
    Ok(())
}

/// Obligations that hold for every operation of the rule, or not at all.
fn check_obligations(place: Place<'_>, rule: &Rule) -> Result<(), PolicyError> {
    let not_data = rule.allow.without(Operations::of_kind(Kind::Data));
    let apart = "put these operations into a rule of their own";
    if let Some(rate) = &rule.rate {
        check_rate(place, rate)?;
        if !not_data.is_empty() {
            let why = format!("a rate holds for operations on data, not for {}", not_data.words());
            return Err(place.refuse("rate", why, apart));
        }
    }
    if !rule.require_context.is_empty() && !not_data.is_empty() {
        return Err(place.refuse("require_context", format!("{} has no context", not_data.words()), apart));
    }
    if rule.no_reveal {
        let opening = rule.allow.shared_with(Operations::OPENING);
        if !opening.is_empty() {
            let why = format!("a caller that may {} sees the data key all the same", opening.words());
            return Err(place.refuse("no_reveal", why, "allow only data_key and encrypt, or drop no_reveal"));
        }
        if !rule.allow.contains(keyagent_common::op::OperationCode::DataKey) {
            let why = "concerns data_key, which the rule does not allow";
            return Err(place.refuse("no_reveal", why, "allow data_key, or drop no_reveal"));
        }
    }
    Ok(())
}

fn check_rate(place: Place<'_>, rate: &Rate) -> Result<(), PolicyError> {
    if rate.count == 0 || rate.burst == 0 || rate.per_seconds == 0 {
        let why = "a rate of nothing allows nothing";
        return Err(place.refuse("rate", why, "write numbers from 1, or remove the rule"));
    }
    if rate.per_seconds > MAX_PERIOD_SECONDS {
        return Err(place.refuse("rate", "longer than a day", "count per second, minute, hour or day"));
    }
    Ok(())
}
