//! An issuer's keys (RFC 7517), and which of them may verify what.
//!
//! Only public keys for asymmetric signatures are ever taken: a symmetric key in a set would let
//! everybody who can read the set sign. What a set says of a key (`kty`, `crv`, `alg`, `use`,
//! `key_ops`) decides which algorithms it verifies; a token cannot widen that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse,
    ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;

use super::shown;

/// The most keys that one token is tried with.
pub(super) const TRIES: usize = 8;
/// The least size of an RSA key: 2048 bits (RFC 7518, section 3.3).
const RSA_BYTES: usize = 256;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Algorithms that are as good as those below, and that nothing here can verify.
pub(super) const CANNOT: [&str; 2] = ["ES512", "ES256K"];

/// The algorithm called `name`, if it is one that a token may be signed with here: an asymmetric
/// one (RFC 7518, section 3.1, and RFC 8037).
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// Why a key of a set verifies nothing here, said of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Another shape.
    #[error("not a JWK")]
    NotAJwk,
    /// It is for encryption.
    #[error("its `use` is not `sig`")]
    Use,
    /// It is for other operations.
    #[error("its `key_ops` lack `verify`")]
    Operations,
    /// A good key that nothing here knows.
    #[error("its curve is P-521 (`ES512`), which idpsyncd cannot verify")]
    P521,
    /// Another curve.
    #[error("its curve is not known")]
    Curve,
    /// Whoever can read it could sign.
    #[error("it is symmetric")]
    Symmetric,
    /// Another kind of key.
    #[error("its `kty` or `crv` is not known")]
    Type,
    /// It is for another algorithm.
    #[error("its `alg` is not one that is verified here")]
    Algorithm,
    /// Its numbers cannot be decoded.
    #[error("it is not base64url")]
    NotBase64,
    /// It can be broken, or is damaged.
    #[error("it is too short")]
    TooShort,
}

/// A key of a set that is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// Its name.
    kid: Option<String>,
    why: KeyError,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LeftOut { kid, why } = self;
        write!(f, "`{}`: {why}", shown(kid.as_deref().unwrap_or("without name")))
    }
}

/// Why an issuer's answer brings no keys.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JwksError {
    /// Something else.
    #[error("what it answered is not JSON, so no JWK set")]
    NotJson,
    /// Other JSON.
    #[error("what it answered is no JWK set: it has no list `keys`")]
    NoList,
    /// Nothing in it.
    #[error("its JWK set is empty")]
    Empty,
    /// Nothing that verifies anything here.
    #[error("none of the {count} keys of its JWK set can be used: {}", each_once(.why))]
    NoneUsable {
        /// How many there are.
        count: usize,
        /// Why, of each.
        why: Vec<KeyError>,
    },
}

fn each_once(why: &[KeyError]) -> String {
    let texts: BTreeSet<String> = why.iter().map(ToString::to_string).collect();
    texts.into_iter().collect::<Vec<_>>().join("; ")
}

/// A key that signatures may be verified with.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name, where it has one.
    pub kid: Option<String>,
    /// What it verifies. Never empty.
    algorithms: Vec<Algorithm>,
    /// What it is made of.
    pub decoding: DecodingKey,
    jwk: Jwk,
    alive: AtomicBool,
}

impl Key {
    /// Whether it verifies signatures by `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether its issuer still has it. Once it has not, it never is again: the same key read
    /// later is another [`Key`].
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Its thumbprint (RFC 7638).
    pub(super) fn thumbprint(&self) -> Option<String> {
        self.jwk.thumbprint(ThumbprintHash::SHA256).ok()
    }

    /// The key of a JWK, if it can verify anything here.
    pub(super) fn new(value: &Value) -> Result<Key, KeyError> {
        let jwk: Jwk = serde_json::from_value(value.clone()).map_err(|_| KeyError::NotAJwk)?;
        let CommonParameters { public_key_use, key_operations, key_algorithm, key_id, .. } =
            jwk.common;
        if !matches!(public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err(KeyError::Use);
        }
        if key_operations.as_ref().is_some_and(|ops| !ops.contains(&KeyOperations::Verify)) {
            return Err(KeyError::Operations);
        }
        // Only what counts: no certificates, and whatever else a set may hold.
        let jwk = Jwk {
            common: CommonParameters {
                public_key_use,
                key_operations,
                key_algorithm,
                key_id: key_id.clone(),
                ..CommonParameters::default()
            },
            algorithm: jwk.algorithm,
        };
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA.to_vec(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                EllipticCurve::P521 => return Err(KeyError::P521),
                _ => return Err(KeyError::Curve),
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                vec![Algorithm::EdDSA]
            }
            AlgorithmParameters::OctetKey(_) => return Err(KeyError::Symmetric),
            _ => return Err(KeyError::Type),
        };
        if let Some(named) = key_algorithm {
            let named = Algorithm::try_from(named).ok();
            algorithms.retain(|algorithm| Some(*algorithm) == named);
        }
        if algorithms.is_empty() {
            return Err(KeyError::Algorithm);
        }
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::NotBase64)?;
        let sound = match (decoding.kind(), &jwk.algorithm) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, _) => {
                n.iter().skip_while(|byte| **byte == 0).count() >= RSA_BYTES && !e.is_empty()
            }
            (DecodingKeyKind::SecretOrDer(key), AlgorithmParameters::OctetKeyPair(_)) => {
                key.len() == 32
            }
            // 4, x and y (SEC 1, section 2.3.3).
            (DecodingKeyKind::SecretOrDer(key), _) => {
                key.len() == if algorithms.contains(&Algorithm::ES384) { 97 } else { 65 }
            }
        };
        if !sound {
            return Err(KeyError::TooShort);
        }
        Ok(Key { kid: key_id, algorithms, decoding, jwk, alive: AtomicBool::new(true) })
    }
}

/// An issuer's keys at one time. Never empty.
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// Keys for signatures that were left out.
    pub left_out: Vec<LeftOut>,
}

impl KeySet {
    /// Reads a JWK set. Keys that cannot verify anything here are left out, never fatal. Keys that
    /// are in `old` too stay the same [`Key`]s.
    ///
    /// # Errors
    /// It is not a JWK set, or has no key that can be used.
    pub(super) fn read(text: &[u8], old: Option<&KeySet>) -> Result<KeySet, JwksError> {
        let value: Value = serde_json::from_slice(text).map_err(|_| JwksError::NotJson)?;
        let listed = value.get("keys").and_then(Value::as_array).ok_or(JwksError::NoList)?;
        let mut keys: Vec<Arc<Key>> = Vec::new();
        let mut left_out = Vec::new();
        let mut told = Vec::new();
        for value in listed {
            match Key::new(value) {
                Ok(key) if keys.iter().any(|known| known.jwk == key.jwk) => {}
                Ok(key) => {
                    let known = old.and_then(|old| old.keys.iter().find(|it| it.jwk == key.jwk));
                    keys.push(known.cloned().unwrap_or_else(|| Arc::new(key)));
                }
                Err(why) => {
                    // A key for encryption is none for signatures, and nothing to tell of.
                    if value.get("use").is_none_or(|of| of == "sig") {
                        let kid = value.get("kid").and_then(Value::as_str).map(str::to_owned);
                        told.push(LeftOut { kid, why });
                    }
                    left_out.push(why);
                }
            }
        }
        if keys.is_empty() {
            return Err(match listed.len() {
                0 => JwksError::Empty,
                count => JwksError::NoneUsable { count, why: left_out },
            });
        }
        Ok(KeySet { keys, left_out: told })
    }

    /// The keys as a JWK set, in an order of their own: the same keys give the same text.
    pub(super) fn to_json(&self) -> Option<String> {
        let mut keys: Vec<Jwk> = self.keys.iter().map(|key| key.jwk.clone()).collect();
        keys.sort_by_cached_key(|key| serde_json::to_string(key).unwrap_or_default());
        serde_json::to_string(&JwkSet { keys }).ok()
    }

    /// The keys of the name `kid`.
    pub(super) fn named<'k>(&'k self, kid: &str) -> impl Iterator<Item = &'k Arc<Key>> {
        self.keys.iter().filter(move |key| key.kid.as_deref() == Some(kid))
    }

    /// The keys without a name.
    pub(super) fn nameless(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter().filter(|key| key.kid.is_none())
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter()
    }

    /// Marks the keys of `self` that `new` no longer has. Call it once `new` is in place.
    pub(super) fn bury(&self, new: &KeySet) {
        for key in &self.keys {
            if !new.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.alive.store(false, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::kit::base64;
    use super::*;
    use serde_json::json;

    /// A number of so many bytes; nothing is verified with it.
    fn modulus(bytes: usize) -> String {
        base64(&vec![0xff; bytes])
    }

    fn refused(key: &Value) -> String {
        Key::new(key).unwrap_err().to_string()
    }

    #[test]
    fn what_a_set_says_of_a_key_decides_what_it_verifies() {
        let rsa = |more: Value| {
            let mut key = json!({"kty": "RSA", "n": modulus(256), "e": "AQAB"});
            for (name, value) in more.as_object().unwrap() {
                key[name] = value.clone();
            }
            key
        };
        let x32 = "_".repeat(42) + "8";
        let x48 = "_".repeat(64);
        assert_eq!(Key::new(&rsa(json!({}))).unwrap().algorithms, RSA);
        let pinned = Key::new(&rsa(json!({"alg": "PS384", "use": "sig", "kid": "k"}))).unwrap();
        assert_eq!(pinned.algorithms, [Algorithm::PS384]);
        assert_eq!(pinned.kid.as_deref(), Some("k"));
        for (key, algorithm) in [
            (json!({"kty": "EC", "crv": "P-256", "x": x32, "y": x32}), Algorithm::ES256),
            (json!({"kty": "EC", "crv": "P-384", "x": x48, "y": x48}), Algorithm::ES384),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": x32}), Algorithm::EdDSA),
        ] {
            assert_eq!(Key::new(&key).unwrap().algorithms, [algorithm], "{key}");
        }
        for (key, why) in [
            (rsa(json!({"use": "enc", "alg": "RSA-OAEP"})), "`use`"),
            (rsa(json!({"use": "tls"})), "`use`"),
            (rsa(json!({"use": 1})), "not a JWK"),
            (rsa(json!({"key_ops": ["encrypt"]})), "`key_ops`"),
            (rsa(json!({"alg": "HS256"})), "`alg`"),
            (rsa(json!({"alg": "ES256"})), "`alg`"),
            (rsa(json!({"alg": "RS1"})), "`alg`"),
            (rsa(json!({"n": modulus(128)})), "too short"),
            (rsa(json!({"n": "A".repeat(40) + &modulus(255)})), "too short"),
            (rsa(json!({"n": "§"})), "base64url"),
            (rsa(json!({"n": 5})), "`kty`"),
            (json!({"kty": "oct", "k": "c2VjcmV0"}), "symmetric"),
            (json!({"kty": "EC", "crv": "P-521", "x": x48, "y": x48}), "cannot verify"),
            (json!({"kty": "EC", "crv": "P-256", "x": x48, "y": x48}), "too short"),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), "too short"),
            (json!({"kty": "OKP", "crv": "X25519", "x": x32}), "`kty`"),
            (json!({"kty": "AKP"}), "`kty`"),
            (json!("key"), "not a JWK"),
        ] {
            assert!(refused(&key).contains(why), "{key}: {}", refused(&key));
        }
    }

    #[test]
    fn a_set_keeps_nothing_but_public_parameters_and_reads_back_the_same() {
        let set = json!({"keys": [
            {"kty": "RSA", "n": modulus(256), "e": "AQAB", "d": "c2VjcmV0", "p": "c2VjcmV0",
             "kid": "b", "use": "sig", "alg": "RS256", "x5c": ["certificate"]},
            {"kty": "OKP", "crv": "Ed25519", "x": "_".repeat(42) + "8", "kid": "a"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "c"},
        ]});
        let read = KeySet::read(set.to_string().as_bytes(), None).unwrap();
        let text = read.to_json().unwrap();
        assert!(!text.contains("c2VjcmV0") && !text.contains("certificate"), "{text}");
        let again = KeySet::read(text.as_bytes(), Some(&read)).unwrap();
        assert_eq!(again.to_json().unwrap(), text);
        assert!(again.all().all(|key| read.all().any(|known| Arc::ptr_eq(known, key))));
        read.bury(&again);
        assert!(again.all().all(|key| key.is_alive()), "the same keys stay alive");
    }
}
