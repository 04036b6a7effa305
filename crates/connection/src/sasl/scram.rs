//! SCRAM (RFC 5802, RFC 7677), the client's side, without channel binding.
//!
//! As Kafka's brokers and clients, without SASLprep: names and passwords are compared byte by byte.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::{SaslError, Step};
use crate::Secret;

/// Fewer rounds make a stolen proof cheap to guess from, more let a broker keep the client busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=100_000;
/// The longest salt and nonce that are taken.
const LONGEST: usize = 1_024;

/// The hash function of SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// An exchange.
pub(crate) struct Scram {
    hash: ScramHash,
    password: Secret,
    state: State,
}

enum State {
    /// The first message is out.
    First {
        bare: String,
        nonce: String,
    },
    /// The proof is out.
    Proved {
        server_key: Zeroizing<Vec<u8>>,
        signed: String,
    },
    Over,
}

impl Scram {
    /// The exchange and its first message.
    pub(super) fn begin(hash: ScramHash, user: &str, password: Secret, nonce: &str) -> (Self, Vec<u8>) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let message = format!("n,,{bare}").into_bytes();
        (Self { hash, password, state: State::First { bare, nonce: nonce.to_owned() } }, message)
    }

    pub(super) const fn stretches_next(&self) -> bool {
        matches!(self.state, State::First { .. })
    }

    pub(super) fn step(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| self.wrong("it is not UTF-8"))?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::First { bare, nonce } => self.prove(&bare, &nonce, challenge),
            State::Proved { server_key, signed } => self.believe(&server_key, &signed, challenge),
            State::Over => Err(SaslError::Endless),
        }
    }

    fn wrong(&self, what: &'static str) -> SaslError {
        SaslError::Challenge { mechanism: self.hash.mechanism(), what }
    }

    /// Answers salt and rounds with the proof.
    fn prove(&mut self, bare: &str, own_nonce: &str, challenge: &str) -> Result<Step, SaslError> {
        let First { nonce, salt, iterations } = First::read(challenge).map_err(|what| self.wrong(what))?;
        if !nonce.starts_with(own_nonce) || nonce.len() == own_nonce.len() {
            return Err(self.wrong("its nonce does not go on from ours"));
        }
        if !ITERATIONS.contains(&iterations) {
            return Err(SaslError::Iterations(iterations));
        }
        let salted = self.hash.stretch(self.password.expose().as_bytes(), &salt, iterations);
        let client_key = Zeroizing::new(self.hash.sign(&salted, b"Client Key"));
        let server_key = Zeroizing::new(self.hash.sign(&salted, b"Server Key"));
        // "biws" is the header of the first message, `n,,`, in base 64.
        let last = format!("c=biws,r={nonce}");
        let signed = format!("{bare},{challenge},{last}");
        let signature = self.hash.sign(&self.hash.digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, mask)| key ^ mask).collect();
        let message = format!("{last},p={}", BASE64_STANDARD.encode(proof));
        self.state = State::Proved { server_key, signed };
        Ok(Step::Send(message.into_bytes()))
    }

    /// Takes the broker's own proof: without it, anybody could play the broker.
    fn believe(&self, server_key: &[u8], signed: &str, challenge: &str) -> Result<Step, SaslError> {
        let attribute = challenge.split(',').next().unwrap_or_default();
        if let Some(refusal) = attribute.strip_prefix("e=") {
            return Err(SaslError::Refused(refusal.escape_debug().to_string()));
        }
        let signature = attribute.strip_prefix("v=").ok_or_else(|| self.wrong("it has no signature"))?;
        let signature =
            BASE64_STANDARD.decode(signature).map_err(|_| self.wrong("its signature is not base 64"))?;
        if self.hash.is_signed(server_key, signed.as_bytes(), &signature) {
            Ok(Step::Done)
        } else {
            Err(SaslError::ServerSignature)
        }
    }
}

/// What the broker answers to the first message.
struct First<'c> {
    nonce: &'c str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'c> First<'c> {
    fn read(challenge: &'c str) -> Result<Self, &'static str> {
        let mut attributes = challenge.split(',');
        let mut next = |prefix| attributes.next().and_then(|attribute| attribute.strip_prefix(prefix));
        let nonce = next("r=").filter(|nonce| nonce.len() <= LONGEST).ok_or("it has no nonce")?;
        let salt = next("s=").and_then(|salt| BASE64_STANDARD.decode(salt).ok()).ok_or("it has no salt")?;
        let iterations = next("i=").and_then(|count| count.parse().ok()).ok_or("it has no rounds")?;
        if salt.is_empty() || salt.len() > LONGEST {
            return Err("its salt is empty or too long");
        }
        Ok(Self { nonce, salt, iterations })
    }
}

impl ScramHash {
    pub(super) const fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn sign(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, bytes).map(|mac| mac.finalize().into_bytes().to_vec()),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, bytes).map(|mac| mac.finalize().into_bytes().to_vec()),
        }
        .unwrap_or_default()
    }

    /// Takes the same time whatever differs.
    fn is_signed(self, key: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Sha256 => {
                mac::<Hmac<Sha256>>(key, bytes).is_some_and(|mac| mac.verify_slice(signature).is_ok())
            }
            Self::Sha512 => {
                mac::<Hmac<Sha512>>(key, bytes).is_some_and(|mac| mac.verify_slice(signature).is_ok())
            }
        }
    }

    fn stretch(self, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations).to_vec(),
            Self::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, iterations).to_vec(),
        })
    }
}

/// A key may have any length, so there always is one.
fn mac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Option<M> {
    Some(M::new_from_slice(key).ok()?.chain_update(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun() -> Scram {
        Scram::begin(ScramHash::Sha256, "user", "pencil".into(), NONCE).0
    }

    /// The example of RFC 7677.
    #[test]
    fn the_example_of_the_standard() {
        let (mut scram, first) = Scram::begin(ScramHash::Sha256, "user", "pencil".into(), NONCE);
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(scram.step(CHALLENGE.as_bytes()), Ok(Step::Send(proof.as_bytes().to_vec())));
        assert_eq!(scram.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(Step::Done));
        assert_eq!(scram.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(SaslError::Endless));
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_not_believed() {
        for (signature, error) in [
            ("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", None),
            ("v=AAAA", Some(SaslError::ServerSignature)),
            ("v=", Some(SaslError::ServerSignature)),
            ("", None),
            ("e=other-error", Some(SaslError::Refused("other-error".to_owned()))),
        ] {
            let mut scram = begun();
            scram.step(CHALLENGE.as_bytes()).unwrap();
            let result = scram.step(signature.as_bytes());
            match error {
                Some(error) => assert_eq!(result, Err(error), "{signature}"),
                None => {
                    assert!(matches!(result, Err(SaslError::Challenge { .. })), "{signature}: {result:?}");
                }
            }
        }
    }

    #[test]
    fn challenges_are_bounded() {
        let long = "a".repeat(2_000);
        for (challenge, error) in [
            ("r=other,s=W22Z,i=4096", "its nonce does not go on from ours"),
            (&format!("r={NONCE},s=W22Z,i=4096"), "its nonce does not go on from ours"),
            (&format!("r={NONCE}{long},s=W22Z,i=4096"), "it has no nonce"),
            (&format!("r={NONCE}x,s=,i=4096"), "its salt is empty or too long"),
            (&format!("r={NONCE}x,s={long},i=4096"), "its salt is empty or too long"),
            (&format!("r={NONCE}x,s=W22Z,i=99999999999"), "it has no rounds"),
            ("m=x,r=y", "it has no nonce"),
        ] {
            let expected = SaslError::Challenge { mechanism: "SCRAM-SHA-256", what: error };
            assert_eq!(begun().step(challenge.as_bytes()), Err(expected), "{challenge}");
        }
        for iterations in [1, 4_095, 100_001] {
            let challenge = format!("r={NONCE}x,s=W22Z,i={iterations}");
            assert_eq!(begun().step(challenge.as_bytes()), Err(SaslError::Iterations(iterations)));
        }
    }

    #[test]
    fn names_are_escaped() {
        let (_, first) = Scram::begin(ScramHash::Sha512, "a=b,c", "x".into(), "n");
        assert_eq!(first, b"n,,n=a=3Db=2Cc,r=n");
    }
}
