//! The server's side of SCRAM (RFC 5802, RFC 7677), as Kafka's brokers speak it: without channel binding.
//!
//! Leaves out: SASLprep of names and passwords (as Kafka does), delegation tokens, and the pretence for unknown users that
//! would keep their names a secret.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// Rounds of PBKDF2: Kafka's least.
const ITERATIONS: u32 = 4_096;

/// The hash function of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// An exchange that waits for the client's proof.
#[derive(Clone)]
pub(super) struct Exchange {
    hash: Hash,
    user: String,
    /// Our half of it.
    nonce: String,
    /// The client's first message without its header, and the server's: what the proof is over.
    messages: String,
    salted: Vec<u8>,
}

/// What the client's first message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First<'m> {
    pub(super) user: String,
    nonce: &'m str,
    bare: &'m str,
}

impl<'m> First<'m> {
    /// Reads `n,,n=user,r=nonce`, with an authorisation id that is the user's, if any, and extensions at the end.
    pub(super) fn read(message: &'m [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (binding, rest) = text.split_once(',')?;
        let (authorisation, bare) = rest.split_once(',')?;
        let mut attributes = bare.split(',');
        let user = plain_name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| !nonce.is_empty())?;
        let is_theirs = match authorisation.strip_prefix("a=") {
            Some(other) => plain_name(other)? == user,
            None => authorisation.is_empty(),
        };
        (matches!(binding, "n" | "y") && is_theirs).then_some(Self { user, nonce, bare })
    }
}

/// `=2C` and `=3D` stand for a comma and an equals sign.
fn plain_name(name: &str) -> Option<String> {
    let escapes_are_known =
        name.split('=').skip(1).all(|rest| rest.starts_with("2C") || rest.starts_with("3D"));
    (escapes_are_known && !name.is_empty()).then(|| name.replace("=2C", ",").replace("=3D", "="))
}

impl Exchange {
    /// Answers the client's first message with salt and nonce.
    pub(super) fn begin(
        hash: Hash,
        first: &First<'_>,
        password: &str,
        salt: &[u8],
        nonce: &str,
    ) -> (Self, String) {
        let salt_text = BASE64_STANDARD.encode(salt);
        let challenge = format!("r={}{nonce},s={salt_text},i={ITERATIONS}", first.nonce);
        let exchange = Self {
            hash,
            user: first.user.clone(),
            nonce: nonce.to_owned(),
            messages: format!("{},{challenge}", first.bare),
            salted: hash.stretch(password.as_bytes(), salt),
        };
        (exchange, challenge)
    }

    /// Checks the client's last message. The server's signature, if the proof is right.
    pub(super) fn finish(&self, message: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let header = BASE64_STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let repeats_header = header.starts_with(b"n,") || header.starts_with(b"y,");
        // Kafka looks at the end of the nonce only, and librdkafka repeats its own half.
        if !repeats_header || !attributes.next()?.strip_prefix("r=")?.ends_with(&self.nonce) {
            return None;
        }
        let signed = format!("{},{without_proof}", self.messages);
        let client_key = self.hash.sign(&self.salted, b"Client Key");
        let signature = self.hash.sign(&self.hash.digest(&client_key), signed.as_bytes());
        let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(key, mask)| key ^ mask).collect();
        if BASE64_STANDARD.decode(proof).ok()? != expected {
            return None;
        }
        let server_key = self.hash.sign(&self.salted, b"Server Key");
        Some(format!("v={}", BASE64_STANDARD.encode(self.hash.sign(&server_key, signed.as_bytes()))))
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

impl Hash {
    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn sign(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        fn sign<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Vec<u8> {
            // A key may have any length.
            let Ok(mac) = M::new_from_slice(key) else { return Vec::new() };
            mac.chain_update(bytes).finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha256 => sign::<Hmac<Sha256>>(key, bytes),
            Self::Sha512 => sign::<Hmac<Sha512>>(key, bytes),
        }
    }

    fn stretch(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, ITERATIONS).to_vec(),
            Self::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, ITERATIONS).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_example_of_the_standard() {
        let first = First::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let (exchange, challenge) =
            Exchange::begin(Hash::Sha256, &first, "pencil", &salt, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let signature = exchange.finish(last).unwrap();
        assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let mut wrong = last.to_vec();
        *wrong.last_mut().unwrap() = b'A';
        assert_eq!(exchange.finish(&wrong), None);
    }

    #[test]
    fn names_are_unescaped_and_odd_messages_refused() {
        let user = |message: &str| First::read(message.as_bytes()).map(|first| first.user);
        assert_eq!(user("n,,n=a=2Cb=3Dc,r=x").as_deref(), Some("a,b=c"));
        assert_eq!(user("n,a=me,n=me,r=x,tokenauth=false").as_deref(), Some("me"));
        for odd in [
            "",
            "n,,n=me",
            "n,,n=,r=x",
            "n,,n=me,r=",
            "p=tls-unique,,n=me,r=x",
            "n,a=you,n=me,r=x",
            "n,,n=a=b,r=x",
        ] {
            assert_eq!(user(odd), None, "{odd}");
        }
    }
}
