//! Tokens: what was signed is accepted, what was tampered with in any way is refused with 65.

use std::time::{SystemTime, UNIX_EPOCH};

use keyagent_common::envelope::{decode_base64, encode_base64};

use super::super::place::Place;

fn place() -> Place {
    let place = Place::started();
    place.run(&["keys", "create", "--class", "hs256", "web"], b"").expect(0);
    place
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sign(place: &Place, claims: &str) -> String {
    place.run(&["jwt", "sign", "-k", "web"], claims.as_bytes()).expect(0).line()
}

#[test]
fn what_was_signed_is_accepted_byte_for_byte() {
    let place = place();
    let claims = format!("{{\"sub\":\"ana\",  \"n\":1.50,\"exp\":{}}}", now() + 600);
    let token = sign(&place, &claims);
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(place.run(&["jwt", "verify", "-k", "web"], token.as_bytes()).expect(0).line(), claims);
    assert_eq!(
        place.run(&["jwt", "verify", "-k", "web"], format!("{token}\n").as_bytes()).expect(0).line(),
        claims
    );
    let header = String::from_utf8(decode_base64(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert!(header.starts_with("{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\""), "{header}");
    let json = place.run(&["jwt", "verify", "-k", "web", "--json"], token.as_bytes()).expect(0).text();
    assert!(
        json.starts_with("{\"schema\":\"keyagent.jwt_verify/1\",\"version\":1,\"current\":true,"),
        "{json}"
    );
}

#[test]
fn times_are_added_and_kept() {
    let place = place();
    let done = place.run(&["jwt", "sign", "-k", "web", "--expires-in", "1h"], b"{\"sub\":\"ana\"}").expect(0);
    let claims = place.run(&["jwt", "verify", "-k", "web"], &done.stdout).expect(0).line();
    let claims: serde_json::Value = serde_json::from_str(&claims).unwrap();
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(issued.abs_diff(now()) < 30 && expires - issued == 3600, "{claims}");
    assert_eq!(claims["sub"], "ana");
    let own = format!("{{\"exp\":{}}}", now() + 77);
    let done = place.run(&["jwt", "sign", "-k", "web", "--expires-in", "30d"], own.as_bytes()).expect(0);
    let claims = place.run(&["jwt", "verify", "-k", "web"], &done.stdout).expect(0).line();
    assert!(claims.contains(&own[1..own.len() - 1]), "{claims}");
    for bad in ["", "[]", "7", "{\"sub\":", "{}{}"] {
        place
            .run(&["jwt", "sign", "-k", "web", "--expires-in", "1h"], bad.as_bytes())
            .refused(64, "INVALID_REQUEST");
    }
    // Without a time, or with one that is over, nothing is signed.
    for bad in ["{}", "{\"exp\":1}", "{\"exp\":\"9999999999\"}"] {
        let done = place.run(&["jwt", "sign", "-k", "web"], bad.as_bytes());
        assert!(done.code != 0 && done.stdout.is_empty(), "{bad}: {done:?}");
    }
}

#[test]
fn every_attack_is_refused_with_65() {
    let place = place();
    let token = sign(&place, &format!("{{\"admin\":false,\"exp\":{}}}", now() + 600));
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |text: &str| encode_base64(text.as_bytes());
    let claims = |text: &str| encode(&text.replace("NOW", &(now() + 600).to_string()));
    let admin = claims("{\"admin\":true,\"exp\":NOW}");
    let mut attacks = vec![
        String::new(),
        "..".to_owned(),
        format!("{}.{admin}.{}", parts[0], parts[2]),
        format!("{}.{admin}.", encode("{\"alg\":\"none\",\"typ\":\"JWT\"}")),
        format!("{}.{admin}.{}", encode("{\"alg\":\"None\"}"), parts[2]),
        format!("{}.{}.", encode("{\"alg\":\"none\"}"), parts[1]),
        format!("{}.{}.{}", encode("{\"alg\":\"RS256\"}"), parts[1], parts[2]),
        format!("{}.{}.{}", encode("{\"alg\":\"HS256\",\"crit\":[\"x\"]}"), parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n\n"),
        token.replace('.', ".."),
        format!("{}.{}.{}", parts[0], parts[1], encode_base64(&[0; 32])),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..parts[2].len() - 1]),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
    ];
    for at in (0..token.len()).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        attacks.push(String::from_utf8(changed).unwrap());
    }
    for attack in attacks {
        let done = place.run(&["jwt", "verify", "-k", "web"], attack.as_bytes());
        assert!(done.stdout.is_empty(), "{attack}");
        done.refused(65, "TOKEN_REFUSED");
    }
    // A token of another key is none of this one, and bytes are no token.
    place.run(&["keys", "create", "--class", "hs256", "other"], b"").expect(0);
    place.run(&["jwt", "verify", "-k", "other"], token.as_bytes()).refused(65, "TOKEN_REFUSED");
    place.run(&["jwt", "verify", "-k", "web"], b"\xff\xfe").expect(64);
    place.run(&["jwt", "verify", "-k", "web"], &vec![b'a'; 20_000]).refused(64, "TOO_LARGE");
}

#[test]
fn a_rotated_key_verifies_old_tokens_until_the_version_is_retired() {
    let place = place();
    let token = sign(&place, &format!("{{\"exp\":{}}}", now() + 600));
    place.run(&["keys", "rotate", "web"], b"").expect(0);
    let done = place.run(&["jwt", "verify", "-v", "-k", "web"], token.as_bytes()).expect(0);
    assert!(done.stderr.contains("signed by version 1, which is not the primary one"), "{}", done.stderr);
    place.run(&["keys", "retire", "web", "1"], b"").expect(0);
    place.run(&["jwt", "verify", "-k", "web"], token.as_bytes()).refused(65, "TOKEN_REFUSED");
    place.run(&["keys", "reinstate", "web", "1"], b"").expect(0);
    place.run(&["jwt", "verify", "-k", "web"], token.as_bytes()).expect(0);
}

#[test]
fn a_token_is_over_when_its_time_is_but_for_the_leeway() {
    let place = place();
    let token = sign(&place, &format!("{{\"exp\":{}}}", now() + 2));
    place.run(&["jwt", "verify", "-k", "web"], token.as_bytes()).expect(0);
    std::thread::sleep(std::time::Duration::from_millis(3100));
    place.run(&["jwt", "verify", "-k", "web"], token.as_bytes()).refused(65, "TOKEN_REFUSED");
    place.run(&["jwt", "verify", "-k", "web", "--leeway", "5m"], token.as_bytes()).expect(0);
    place.run(&["jwt", "verify", "-k", "web", "--leeway", "6m"], token.as_bytes()).expect(64);
}
