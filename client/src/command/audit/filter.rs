//! Which lines somebody wants to see.

use clap::Args;
use keyagent_common::report::Report;
use nix::unistd::User;

use super::pages::Span;
use crate::{
    audit_line::AuditLine,
    failure::{Failure, usage},
    utc::{self, Edge},
};

/// Flags of `query` and `export`.
#[derive(Debug, Default, Args)]
pub(crate) struct FilterArguments {
    /// Not before: 24h (ago), 2026-11-22 or 2026-11-22T02:20:05Z; UTC
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after; a day counts to its end
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// About this key
    #[arg(short, long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Asked by this user, by name or number, or on their behalf
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Of this kind, such as decrypt (repeatable)
    #[arg(long, value_name = "TYPE")]
    pub(crate) event: Vec<String>,
    /// Asked by this systemd unit, or on its behalf
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit: Option<String>,
    /// Only what failed or was denied
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only the newest N of them
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// The same, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) span: Span,
    key: Option<String>,
    uid: Option<u32>,
    events: Vec<String>,
    unit: Option<String>,
    failed: bool,
    pub(crate) limit: Option<usize>,
}

impl FilterArguments {
    /// Times and names resolved; `now` in microseconds since 1970.
    pub(crate) fn resolve(&self, now: u64) -> Result<Filter, Failure> {
        let from_micros = time(self.since.as_deref(), now, Edge::Begin)?.unwrap_or(0);
        let to_micros = time(self.until.as_deref(), now, Edge::End)?.unwrap_or(u64::MAX);
        if from_micros > to_micros {
            return Err(usage("--since is later than --until").into());
        }
        Ok(Filter {
            span: Span { from_micros, to_micros, ..super::ALL },
            key: self.key.clone(),
            uid: self.user.as_deref().map(uid).transpose()?,
            events: self.event.clone(),
            unit: self.unit.clone(),
            failed: self.failed,
            limit: self.limit,
        })
    }
}

impl Filter {
    /// Whether a line of the span is wanted.
    pub(crate) fn accepts(&self, line: &AuditLine) -> bool {
        let named = line.on_behalf_of();
        let user = |uid: u32| {
            line.uid().as_deref() == Some(uid.to_string().as_str())
                || named.is_some_and(|(named, _)| named == u64::from(uid))
        };
        let unit = |unit: &str| line.unit() == Some(unit) || named.and_then(|(_, unit)| unit) == Some(unit);
        self.key.as_deref().is_none_or(|key| line.provider.as_deref() == Some(key))
            && self.uid.is_none_or(user)
            && self.unit.as_deref().is_none_or(unit)
            && (self.events.is_empty() || self.events.contains(&line.event_type))
            && !(self.failed && line.success)
    }
}

/// A time as typed.
pub(crate) fn time(text: Option<&str>, now: u64, edge: Edge) -> Result<Option<u64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match utc::parse(text, now, edge) {
        Ok(micros) => Ok(Some(micros)),
        Err(why) => Err(usage("not a time").why(why).fix("--since 24h, --since 2026-11-22").into()),
    }
}

fn uid(user: &str) -> Result<u32, Report> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    match User::from_name(user) {
        Ok(Some(found)) => Ok(found.uid.as_raw()),
        _ => Err(usage("no such user").fact("user", user).fix("give the number of the user: --user 1001")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_line::tests::LINE;

    const NOW: u64 = 1_795_314_005_000_000;

    fn accepts(arguments: &FilterArguments, line: &str) -> bool {
        arguments.resolve(NOW).unwrap().accepts(&AuditLine::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn every_flag_lets_through_what_it_names_and_nothing_else() {
        let text = |text: &str| Some(text.to_owned());
        let cases = [
            (FilterArguments::default(), true),
            (FilterArguments { key: text("billing"), ..Default::default() }, true),
            (FilterArguments { key: text("billin"), ..Default::default() }, false),
            (FilterArguments { user: text("1001"), ..Default::default() }, true),
            (FilterArguments { user: text("100"), ..Default::default() }, false),
            (FilterArguments { user: text("root"), ..Default::default() }, false),
            (FilterArguments { unit: text("billing.service"), ..Default::default() }, true),
            (FilterArguments { unit: text("billing"), ..Default::default() }, false),
            (FilterArguments { event: vec!["encrypt".into(), "decrypt".into()], ..Default::default() }, true),
            (FilterArguments { event: vec!["encrypt".into()], ..Default::default() }, false),
            (FilterArguments { failed: true, ..Default::default() }, false),
        ];
        for (arguments, expected) in cases {
            assert_eq!(accepts(&arguments, LINE), expected, "{arguments:?}");
        }
        let bridged =
            LINE.replace("\"rule\"", "\"on_behalf_of\":{\"uid\":7,\"unit\":\"x.service\"},\"rule\"");
        assert!(accepts(&FilterArguments { user: text("7"), ..Default::default() }, &bridged));
        assert!(accepts(&FilterArguments { unit: text("x.service"), ..Default::default() }, &bridged));
        let failed = LINE.replace("\"success\":true", "\"success\":false");
        assert!(accepts(&FilterArguments { failed: true, ..Default::default() }, &failed));
    }

    #[test]
    fn times_become_a_span() {
        let day = FilterArguments {
            since: Some("2026-11-22".into()),
            until: Some("2026-11-22".into()),
            ..Default::default()
        };
        let span = day.resolve(NOW).unwrap().span;
        assert_eq!(span.to_micros - span.from_micros, 86_400_000_000 - 1);
        for (since, until) in [("yesterday", "1h"), ("1h", "24h"), ("1h", "2026-11-31")] {
            let wrong = FilterArguments {
                since: Some(since.into()),
                until: Some(until.into()),
                ..Default::default()
            };
            assert!(wrong.resolve(NOW).is_err(), "{since} {until}");
        }
        let nobody = FilterArguments { user: Some("no-such-user-here".into()), ..Default::default() };
        assert!(nobody.resolve(NOW).is_err());
    }
}
