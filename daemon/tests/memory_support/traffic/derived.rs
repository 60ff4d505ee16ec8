//! Blind indexes, tokens, values moved to a new version, batches: they open secrets for one request each.

use keyagent_common::{
    codec,
    error::ErrorCode,
    op::{
        Batch, BatchRequest, Encrypt, EncryptRequest, HmacRequest, HmacTag, JwtSign, JwtSignReply,
        JwtSignRequest, JwtVerify, JwtVerifyRequest, KeyCreate, KeyCreateRequest, KeyRotate,
        KeyRotateRequest, KeyStanding, Rewrap, RewrapReply, RewrapRequest, Takeover,
    },
};

use super::{KEYS, Sealed, Traffic};
use crate::support::{Client, client};

/// A key of class 2 and one of class 3.
const INDEX: &str = "search";
const TOKENS: &str = "login";
/// In the year 2100.
const CLAIMS: &[u8] = b"{\"sub\":\"ana\",\"exp\":4102444800}";
/// How often a key is rotated at most: states of all versions fit.
const ROTATIONS: usize = 40;

/// Makes the keys, unless a run before did.
pub(super) fn make_keys(client: &mut Client) {
    for (key, class) in [(INDEX, 2), (TOKENS, 3)] {
        let made = client.ask::<KeyCreate>(&KeyCreateRequest { key, class, note: "" });
        assert!(made.code == 0 || made.error() == ErrorCode::KeyExists, "{key}: {}", made.code);
    }
}

impl Traffic {
    pub(super) fn derived(&mut self, client: &mut Client, context: &[u8]) {
        let value = self.plaintext();
        let value = &value[..value.len().min(2000)];
        for every_version in [false, true] {
            let request = HmacRequest { key: INDEX, context, value, tag_bytes: 16, every_version };
            assert_eq!(client.ask::<HmacTag>(&request).code, 0);
        }
        let signed =
            client.ask::<JwtSign>(&JwtSignRequest { key: TOKENS, claims: CLAIMS }).success().unwrap();
        let token = codec::decode::<JwtSignReply<'_>>(&signed).unwrap().token;
        let request = JwtVerifyRequest { key: TOKENS, token, leeway_seconds: 0 };
        assert_eq!(client.ask::<JwtVerify>(&request).code, 0);
        let cut = JwtVerifyRequest { token: &token[..token.len() - 1], ..request };
        assert_eq!(client.ask::<JwtVerify>(&cut).error(), ErrorCode::TokenRefused);
        self.moved(client, context);
        let item = EncryptRequest { key: "default", context, plaintext: value };
        let items: Vec<u8> = (0..3).flat_map(|id| client::request::<Encrypt>(id, &item)).collect();
        assert_eq!(client.ask::<Batch>(&BatchRequest { operation: 16, items: &items }).code, 0);
        self.requests += 8;
        self.refused += 1;
    }

    /// A value that is moved to a version which was made behind it.
    fn moved(&mut self, client: &mut Client, context: &[u8]) {
        let plaintext = self.plaintext();
        let key = KEYS[1 + self.random.below(KEYS.len() - 1)];
        let before = client.encrypt_under(key, context, &plaintext).unwrap();
        if self.rotations < ROTATIONS {
            self.rotations += 1;
            for key in [key, INDEX, TOKENS] {
                let (takeover, lift) = (Takeover::Grace, KeyStanding::Active);
                let request = KeyRotateRequest { key, reason: 5, takeover, lift, note: "" };
                assert_eq!(client.ask::<KeyRotate>(&request).code, 0);
                self.on_the_agent += 1;
            }
        }
        let moved = client.ask::<Rewrap>(&RewrapRequest { context, envelope: &before }).success().unwrap();
        let moved = codec::decode::<RewrapReply<'_>>(&moved).unwrap().envelope.to_vec();
        let mut changed = moved.clone();
        *changed.last_mut().unwrap() ^= 1;
        let refused = client.ask::<Rewrap>(&RewrapRequest { context, envelope: &changed });
        assert_eq!(refused.error(), ErrorCode::DoesNotOpen);
        assert!(client.decrypt(context, &moved).unwrap() == plaintext);
        self.requests += 4;
        self.refused += 1;
        self.sealed.push(Sealed { envelope: before, plaintext: plaintext.clone() });
        self.sealed.push(Sealed { envelope: moved, plaintext });
    }
}
