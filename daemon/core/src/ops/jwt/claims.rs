//! The times of a token's claims (RFC 7519, sections 4.1.4 and 4.1.5).
//!
//! Other claims are the application's. Must never let a token through that does not say when it expires.

use super::{
    super::ClaimsFault,
    json::{self, Value},
};

/// Most digits before the point: any date that means something has fewer.
const MAX_DIGITS: usize = 15;

/// A time as a token writes it, exact to the second and whether it is later within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    seconds: u64,
    has_fraction: bool,
}

/// Checks claims: `exp` is there and after `expires_after`; `nbf`, if it is there, not after `begins_by` (where that is
/// given). Both are seconds since 1970; a clock that was forgiven is in them already.
pub(super) fn check(claims: &[u8], begins_by: Option<u64>, expires_after: u64) -> Result<(), ClaimsFault> {
    let (mut expiry, mut begin) = (None, None);
    let read = json::read_object(claims, &mut |name, value| {
        if name.is("exp") {
            expiry = Some(value);
        } else if name.is("nbf") {
            begin = Some(value);
        }
    });
    read.map_err(|_| ClaimsFault::NotAnObject)?;
    let expiry = time(expiry.ok_or(ClaimsFault::NoExpiry)?)?;
    let begin = begin.map(time).transpose()?;
    if expiry <= whole(expires_after) {
        return Err(ClaimsFault::Expired);
    }
    match (begin, begins_by) {
        (Some(begin), Some(by)) if begin > whole(by) => Err(ClaimsFault::NotYet),
        _ => Ok(()),
    }
}

fn whole(seconds: u64) -> Time {
    Time { seconds, has_fraction: false }
}

/// A number without exponent, of few digits before the point; one below zero is before everything.
fn time(value: Value<'_>) -> Result<Time, ClaimsFault> {
    let Value::Number(text) = value else { return Err(ClaimsFault::NotATime) };
    if text.contains(['e', 'E']) {
        return Err(ClaimsFault::NotATime);
    }
    let (text, is_negative) = text.strip_prefix('-').map_or((text, false), |text| (text, true));
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > MAX_DIGITS {
        return Err(ClaimsFault::NotATime);
    }
    if is_negative {
        return Ok(whole(0));
    }
    let seconds = digits.parse().map_err(|_| ClaimsFault::NotATime)?;
    Ok(Time { seconds, has_fraction: fraction.bytes().any(|digit| digit != b'0') })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(claims: &str) -> Result<(), ClaimsFault> {
        check(claims.as_bytes(), Some(1000), 1000)
    }

    #[test]
    fn expiry_is_demanded_and_after_now() {
        for (claims, wanted) in [
            (r#"{"exp":1001}"#, Ok(())),
            (r#"{"exp":1000.5}"#, Ok(())),
            (r#"{"exp":999999999999999}"#, Ok(())),
            (r#"{"\u0065xp":1001}"#, Ok(())),
            (r#"{"exp":1000}"#, Err(ClaimsFault::Expired)),
            (r#"{"exp":1000.000}"#, Err(ClaimsFault::Expired)),
            (r#"{"exp":0}"#, Err(ClaimsFault::Expired)),
            (r#"{"exp":-1}"#, Err(ClaimsFault::Expired)),
            (r#"{"exp":-5000.5}"#, Err(ClaimsFault::Expired)),
            (r#"{"exp":"1001"}"#, Err(ClaimsFault::NotATime)),
            (r#"{"exp":null}"#, Err(ClaimsFault::NotATime)),
            (r#"{"exp":[1001]}"#, Err(ClaimsFault::NotATime)),
            (r#"{"exp":1e9}"#, Err(ClaimsFault::NotATime)),
            (r#"{"exp":1000000000000000}"#, Err(ClaimsFault::NotATime)),
            (r#"{"Exp":1001}"#, Err(ClaimsFault::NoExpiry)),
            (r#"{"a":{"exp":1001}}"#, Err(ClaimsFault::NoExpiry)),
            (r"{}", Err(ClaimsFault::NoExpiry)),
            (r#"{"exp":1001,"exp":1001}"#, Err(ClaimsFault::NotAnObject)),
            (r#"{"exp":1,"\u0065xp":1001}"#, Err(ClaimsFault::NotAnObject)),
            (r#"["exp",1001]"#, Err(ClaimsFault::NotAnObject)),
            (r"1001", Err(ClaimsFault::NotAnObject)),
            (r"", Err(ClaimsFault::NotAnObject)),
        ] {
            assert_eq!(checked(claims), wanted, "{claims}");
        }
    }

    #[test]
    fn a_beginning_must_have_come_where_that_counts() {
        for (begin, wanted) in [
            ("1000", Ok(())),
            ("0", Ok(())),
            ("-1", Ok(())),
            ("1000.1", Err(ClaimsFault::NotYet)),
            ("1001", Err(ClaimsFault::NotYet)),
            ("\"1000\"", Err(ClaimsFault::NotATime)),
        ] {
            let claims = alloc::format!(r#"{{"exp":2000,"nbf":{begin}}}"#);
            assert_eq!(checked(&claims), wanted, "{begin}");
            let signing = check(claims.as_bytes(), None, 1000);
            assert_eq!(signing.is_ok(), wanted != Err(ClaimsFault::NotATime), "{begin}");
        }
    }
}
