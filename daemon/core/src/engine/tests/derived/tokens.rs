//! `jwt_sign` and `jwt_verify`, and what attackers try.

use ::hmac::{Hmac, KeyInit, Mac};
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::Sha256;

use super::*;

const CLAIMS: &str = r#"{"sub":"a","exp":1800000600}"#;

fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// A token as somebody who has the secret of a version could make it.
fn forged(bench: &Bench, (key, version): (&str, u32), header: &str, claims: &str) -> String {
    signed(
        bench,
        (key, version),
        &alloc::format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes())),
    )
}

fn signed(bench: &Bench, (key, version): (&str, u32), text: &str) -> String {
    let version = bench.keyring.find(key).unwrap().version(version).unwrap();
    let mac = bench.keyring.with_secret(version, |_, secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes()
    });
    alloc::format!("{text}.{}", base64(&mac.unwrap()))
}

fn header(algorithm: &str) -> String {
    alloc::format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#)
}

fn refused<T>(fault: TokenFault) -> Result<T, OperationError> {
    Err(OperationError::TokenRefused(fault))
}

#[test]
fn a_token_is_what_the_format_says_and_is_good_until_it_expires() {
    let mut bench = Bench::new();
    let token = bench.sign("t", CLAIMS).unwrap();
    let id = bench.keyring.find("t").unwrap().primary().unwrap().key_id().unwrap();
    let named = alloc::format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{}"}}"#, hex::encode(&id[..16]));
    assert_eq!(token, forged(&bench, ("t", 1), &named, CLAIMS));
    assert_eq!(bench.verify("t", &token), Ok((1, true, CLAIMS.into())));
    bench.now = 1_800_000_599;
    assert!(bench.verify("t", &token).is_ok());
    bench.now += 1;
    assert_eq!(bench.verify("t", &token), refused(TokenFault::Claims(ClaimsFault::Expired)));
    assert!(bench.verify_leniently("t", &token, 1).is_ok());
    bench.now += 300;
    assert!(bench.verify_leniently("t", &token, 300).is_err());
    assert_eq!(bench.verify_leniently("t", &token, 301), Err(OperationError::InvalidLeeway));
    bench.now = NOW;
    let later = bench.sign("t", r#"{"exp":1800000600,"nbf":1800000100}"#).unwrap();
    assert_eq!(bench.verify("t", &later), refused(TokenFault::Claims(ClaimsFault::NotYet)));
    assert!(bench.verify_leniently("t", &later, 100).is_ok());
}

#[test]
fn other_algorithms_and_extensions_are_refused_however_well_they_are_signed() {
    let mut bench = Bench::new();
    for (header, fault) in [
        (header("none"), TokenFault::Algorithm),
        (header("None"), TokenFault::Algorithm),
        (header("hs256"), TokenFault::Algorithm),
        (header("HS384"), TokenFault::Algorithm),
        (header("HS512"), TokenFault::Algorithm),
        (header("RS256"), TokenFault::Algorithm),
        (header("ES256"), TokenFault::Algorithm),
        (header("HS256 "), TokenFault::Algorithm),
        (r#"{"typ":"JWT"}"#.into(), TokenFault::Algorithm),
        (r#"{"alg":["HS256"]}"#.into(), TokenFault::Algorithm),
        (r#"{"alg":256}"#.into(), TokenFault::Algorithm),
        (r#"{"alg":"HS256","crit":["exp"]}"#.into(), TokenFault::Critical),
        (r#"{"alg":"HS256","crit":[]}"#.into(), TokenFault::Critical),
        (r#"{"alg":"HS256","\u0063rit":["x"]}"#.into(), TokenFault::Critical),
        (r#"{"alg":"HS256","b64":false}"#.into(), TokenFault::Critical),
        (r#"{"alg":"HS256","kid":"another"}"#.into(), TokenFault::KeyId),
        (r#"{"alg":"HS256","kid":""}"#.into(), TokenFault::KeyId),
        (r#"{"alg":"HS256","kid":7}"#.into(), TokenFault::KeyId),
        (r#"{"alg":"HS256","alg":"HS256"}"#.into(), TokenFault::Header),
        (r#"{"alg":"none","\u0061lg":"HS256"}"#.into(), TokenFault::Header),
        (r#"["HS256"]"#.into(), TokenFault::Header),
        (r#"{"alg":"HS256"} x"#.into(), TokenFault::Header),
        (String::new(), TokenFault::Header),
    ] {
        let token = forged(&bench, ("t", 1), &header, CLAIMS);
        assert_eq!(bench.verify("t", &token), refused(fault), "{header}");
    }
    // Without a `kid`, and with members that say nothing here, it is a token all the same.
    for header in [r#"{"alg":"HS256"}"#, r#" { "alg" : "\u0048S256", "jku":"https://a", "typ":"at+jwt" } "#] {
        let token = forged(&bench, ("t", 1), header, CLAIMS);
        assert_eq!(bench.verify("t", &token), Ok((1, true, CLAIMS.into())), "{header}");
    }
    // Unsigned, whatever it says.
    for signature in ["", "AA", &base64(&[0; 32])] {
        let text =
            [&base64(header("none").as_bytes()), ".", &base64(CLAIMS.as_bytes()), ".", signature].concat();
        let fault = if signature.len() == 43 { TokenFault::Signature } else { TokenFault::Form };
        assert_eq!(bench.verify("t", &text), refused(fault), "{signature:?}");
    }
}

#[test]
fn claims_must_be_an_object_that_expires() {
    let mut bench = Bench::new();
    for (claims, fault) in [
        (r#"{"sub":"a"}"#, ClaimsFault::NoExpiry),
        (r#"{"exp":1799999999}"#, ClaimsFault::Expired),
        (r#"{"exp":1800000000}"#, ClaimsFault::Expired),
        (r#"{"exp":"1800000600"}"#, ClaimsFault::NotATime),
        (r#"{"exp":18e8}"#, ClaimsFault::NotATime),
        (r#"{"exp":1800000600,"exp":1800000601}"#, ClaimsFault::NotAnObject),
        (r#"{"exp":1800000600}{}"#, ClaimsFault::NotAnObject),
        (r#"[{"exp":1800000600}]"#, ClaimsFault::NotAnObject),
        ("", ClaimsFault::NotAnObject),
        ("exp", ClaimsFault::NotAnObject),
    ] {
        assert_eq!(bench.sign("t", claims), Err(OperationError::ClaimsRefused(fault)), "{claims}");
        let token = forged(&bench, ("t", 1), &header("HS256"), claims);
        assert_eq!(bench.verify("t", &token), refused(TokenFault::Claims(fault)), "{claims}");
    }
    assert_eq!(OperationError::ClaimsRefused(ClaimsFault::NoExpiry).code(), ErrorCode::InvalidRequest);
    assert_eq!(OperationError::TokenRefused(TokenFault::Form).code(), ErrorCode::TokenRefused);
}

#[test]
fn a_token_of_another_key_or_made_of_two_is_refused() {
    let mut bench = Bench::new();
    let (one, other) = (bench.sign("t", CLAIMS).unwrap(), bench.sign("u", CLAIMS).unwrap());
    assert_eq!(bench.verify("u", &one), refused(TokenFault::Signature));
    assert_eq!(bench.verify("t", &other), refused(TokenFault::Signature));
    let parts: Vec<&str> = one.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    for mixed in [
        [parts[0], parts[1], others[2]],
        [others[0], parts[1], parts[2]],
        [parts[1], parts[0], parts[2]],
        [parts[0], others[0], parts[2]],
    ] {
        assert_eq!(bench.verify("t", &mixed.join(".")), refused(TokenFault::Signature));
    }
    // A `kid` of another version, signed by this one: that other one did not sign it.
    bench.rotate("t", Takeover::Grace);
    let header = String::from_utf8(Base64UrlUnpadded::decode_vec(parts[0]).unwrap()).unwrap();
    let token = forged(&bench, ("t", 2), &header, CLAIMS);
    assert_eq!(bench.verify("t", &token), refused(TokenFault::Signature));
    // Not in our own letters it says the same, once it was found to be signed.
    let token = forged(&bench, ("t", 2), &header.replace(',', ", "), CLAIMS);
    assert_eq!(bench.verify("t", &token), refused(TokenFault::KeyId));
    assert_eq!(bench.verify("none", &token), Err(OperationError::UnknownKey));
}

#[test]
fn text_that_is_not_canonical_is_refused() {
    let mut bench = Bench::new();
    let token = bench.sign("t", CLAIMS).unwrap();
    let (signed_text, signature) = token.rsplit_once('.').unwrap();
    let (first, claims) = signed_text.split_once('.').unwrap();
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        first.into(),
        signed_text.into(),
        alloc::format!("{token}."),
        alloc::format!(".{token}"),
        alloc::format!("{token}="),
        alloc::format!("{token}\n"),
        alloc::format!("{first}..{claims}.{signature}"),
        alloc::format!("{token}.{signature}"),
        // Spare bits of the last letter: 43 letters are 258 bits, two of them must be zero.
        alloc::format!("{signed_text}.{}", next_letter(signature)),
        alloc::format!("{signed_text}.{}", &signature[..42]),
        token.replace('.', ","),
    ] {
        assert_eq!(bench.verify("t", &bad), refused(TokenFault::Form), "{bad:?}");
    }
    assert_eq!(bench.verify("t", &alloc::format!(" {token}")), refused(TokenFault::Signature));
    // Signed well, and still not what the standard allows.
    let version = ("t", 1);
    for (first, claims) in [
        (alloc::format!("{first}="), String::from(claims)),
        (first.into(), alloc::format!("{claims}=")),
        (first.into(), alloc::format!("{claims}==")),
        (alloc::format!("{first} "), String::from(claims)),
        (first.into(), alloc::format!("{claims}\n")),
        (first.into(), alloc::format!("{claims}AAA")),
        (first.into(), next_letter(claims)),
        (next_letter(first), String::from(claims)),
        (first.into(), claims.replacen('e', "+", 1)),
    ] {
        let token = signed(&bench, version, &alloc::format!("{first}.{claims}"));
        let answer = bench.verify("t", &token);
        assert_eq!(answer, refused(TokenFault::Form), "{first}.{claims}");
    }
    for (first, claims) in [("", claims), (first, "")] {
        let token = signed(&bench, version, &alloc::format!("{first}.{claims}"));
        assert!(matches!(bench.verify("t", &token), Err(OperationError::TokenRefused(_))));
    }
}

/// The last letter counted on by one: other spare bits, the same bytes.
fn next_letter(text: &str) -> String {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = text.split_at(text.len() - 1);
    let place = LETTERS.find(last).unwrap() + 1;
    [rest, &LETTERS[place..=place]].concat()
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bench = Bench::new();
    let token = bench.sign("t", CLAIMS).unwrap();
    for bit in 0..token.len() * 8 {
        let mut bytes = token.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let failure = bench.verify("t", &changed).unwrap_err();
        assert!(
            failure == OperationError::TokenRefused(TokenFault::Form)
                || failure == OperationError::TokenRefused(TokenFault::Signature),
            "bit {bit}: {failure:?}"
        );
    }
}

#[test]
fn versions_in_use_verify_and_others_do_not() {
    let mut bench = Bench::new();
    let first = bench.sign("t", CLAIMS).unwrap();
    bench.rotate("t", Takeover::Grace);
    let second = bench.sign("t", CLAIMS).unwrap();
    bench.rotate("t", Takeover::Staged);
    let third = forged(&bench, ("t", 3), &header("HS256"), CLAIMS);
    assert_eq!(bench.verify("t", &first), Ok((1, false, CLAIMS.into())));
    assert_eq!(bench.verify("t", &second), Ok((2, true, CLAIMS.into())));
    assert_eq!(bench.verify("t", &third), Ok((3, false, CLAIMS.into())));
    for how in [How::Retire, How::Disable, How::Compromise] {
        bench.change("t", 1, how);
        assert_eq!(bench.verify("t", &first), refused(TokenFault::Signature), "{how:?}");
        assert!(bench.verify("t", &second).is_ok());
        bench.change("t", 1, if matches!(how, How::Retire) { How::Reinstate } else { How::Enable });
    }
    bench.maintenance = true;
    assert!(bench.verify("t", &first).is_ok());
    assert!(bench.sign("t", CLAIMS).is_ok());
    bench.brake("t", Brake::Disabled);
    assert_eq!(bench.verify("t", &second), Err(OperationError::KeyDisabled));
    assert_eq!(bench.sign("t", CLAIMS), Err(OperationError::KeyDisabled));
}

#[test]
fn a_token_that_names_its_version_has_that_one_tried_others_64_at_most() {
    let mut bench = Bench::new();
    let first = bench.sign("t", CLAIMS).unwrap();
    for _ in 1..64 {
        bench.rotate("t", Takeover::Grace);
    }
    let foreign = forged(&bench, ("t", 1), &header("HS256"), CLAIMS);
    let good = Ok((1, false, String::from(CLAIMS)));
    assert_eq!(bench.verify("t", &foreign), good);
    bench.rotate("t", Takeover::Grace);
    assert_eq!(bench.verify("t", &foreign), Err(OperationError::TooManyVersions));
    assert_eq!(bench.verify("t", &first), good);
    let current = bench.sign("t", CLAIMS).unwrap();
    assert_eq!(bench.verify("t", &current).unwrap().0, 65);
    // One letter of the header differs: it is no longer one of ours.
    let (head, rest) = first.split_once('.').unwrap();
    let head = String::from_utf8(Base64UrlUnpadded::decode_vec(head).unwrap()).unwrap();
    let upper = alloc::format!("{}.{rest}", base64(head.replace("JWT", "Jwt").as_bytes()));
    assert_eq!(bench.verify("t", &upper), Err(OperationError::TooManyVersions));
    // Whom it names it must be signed by, and what is out of use is nobody.
    let lied = forged(&bench, ("t", 2), &head, CLAIMS);
    assert_eq!(bench.verify("t", &lied), refused(TokenFault::Signature));
    bench.change("t", 1, How::Retire);
    assert_eq!(bench.verify("t", &first), refused(TokenFault::Signature));
    assert_eq!(bench.verify("t", &foreign), refused(TokenFault::Signature));
}

#[test]
fn the_record_names_the_version_that_signed() {
    let mut bench = Bench::new();
    let first = bench.sign("t", CLAIMS).unwrap();
    bench.rotate("t", Takeover::Grace);
    let foreign = forged(&bench, ("t", 1), &header("HS256"), CLAIMS);
    for (token, version) in [(first.as_str(), 1), (&foreign, 1), ("x.y.z", 2)] {
        let request = JwtVerifyRequest { key: "t", token, leeway_seconds: 0 };
        assert_eq!(bench.recorded(OperationCode::JwtVerify, &request), (Some(version), false), "{token}");
    }
    bench.rotate("i", Takeover::Grace);
    for every_version in [false, true] {
        let request = HmacRequest { every_version, ..look_up("i", EMPTY, b"v") };
        assert_eq!(bench.recorded(OperationCode::Hmac, &request), (Some(2), every_version));
    }
}

#[test]
fn tokens_have_a_longest_length_and_what_is_signed_can_be_verified() {
    let mut bench = Bench::new();
    let of = |length: usize| alloc::format!(r#"{{"exp":1800000600,"a":"{}"}}"#, "x".repeat(length - 25));
    // 16384 bytes in all: 91 of header, 43 of signature, two full stops; 16248 are 12186 bytes of claims.
    let token = bench.sign("t", &of(12_186)).unwrap();
    assert_eq!(token.len(), 16_384);
    assert_eq!(bench.verify("t", &token).unwrap().2.len(), 12_186);
    for length in [12_187, 16_384, 16_385, 60_000] {
        assert_eq!(bench.sign("t", &of(length)), Err(OperationError::TokenTooLong));
    }
    let longer = alloc::format!("{token}A");
    assert_eq!(bench.verify("t", &longer), Err(OperationError::TokenTooLong));
    assert_eq!(OperationError::TokenTooLong.code(), ErrorCode::TooLarge);
    let wide =
        forged(&bench, ("t", 1), &alloc::format!(r#"{{"alg":"HS256","x":"{}"}}"#, "x".repeat(1000)), CLAIMS);
    assert!(bench.verify("t", &wide).is_ok());
    let wider =
        forged(&bench, ("t", 1), &alloc::format!(r#"{{"alg":"HS256","x":"{}"}}"#, "x".repeat(1003)), CLAIMS);
    assert_eq!(bench.verify("t", &wider), refused(TokenFault::Form));
}
