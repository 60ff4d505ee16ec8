//! A rate limit as it is written: `100/s`, `100/m burst 200`.

use keyagent_core::policy::Rate;

use crate::value::{Given, Refusal};

/// Most requests that a rate or a burst can name.
const MOST: u32 = 1_000_000_000;

/// The rate of a rule; without `burst` as many as `count` may come at once.
pub(crate) fn rate(given: &Given) -> Result<Rate, Refusal> {
    let fix = "rate = \"100/s burst 200\"";
    let refuse = || {
        Refusal::new(
            format!(
                "a rate is COUNT/s, /m, /h or /d, with or without \"burst COUNT\"; counts are 1 to {MOST}"
            ),
            fix,
        )
    };
    let mut words = given.text(fix)?.split(' ').filter(|word| !word.is_empty());
    let (number, unit) = words.next().and_then(|word| word.split_once('/')).ok_or_else(refuse)?;
    let count = number_of(number).ok_or_else(refuse)?;
    let per_seconds = match unit {
        "s" | "second" => 1,
        "m" | "minute" => 60,
        "h" | "hour" => 3600,
        "d" | "day" => 86_400,
        _ => return Err(refuse()),
    };
    let burst = match (words.next(), words.next(), words.next()) {
        (None, ..) => count,
        (Some("burst"), Some(number), None) => number_of(number).ok_or_else(refuse)?,
        _ => return Err(refuse()),
    };
    Ok(Rate { count, per_seconds, burst })
}

fn number_of(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = if digits { text.parse().ok()? } else { return None };
    (1..=MOST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::Origin, value::Content};

    fn of(text: &str) -> Option<(u32, u32, u32)> {
        let content = Content::Text(text.to_owned());
        let given = Given { name: String::new(), shown: String::new(), at: Origin::Default, content };
        rate(&given).ok().map(|rate| (rate.count, rate.per_seconds, rate.burst))
    }

    #[test]
    fn rates_have_exactly_these_forms() {
        assert_eq!(of("100/s"), Some((100, 1, 100)));
        assert_eq!(of("5/minute burst 50"), Some((5, 60, 50)));
        assert_eq!(of("1/h burst  2"), Some((1, 3600, 2)));
        assert_eq!(of("7/d"), Some((7, 86_400, 7)));
        for bad in [
            "",
            "100",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "100/s burst",
            "100/s burst 0",
            "100/s 200",
            "100/s burst 1 2",
            "1000000001/s",
            "100 /s",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
