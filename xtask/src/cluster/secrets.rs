//! What a broker that asks who you are finds in `/etc/kafka/secrets`, and what its clients show it.
//!
//! | file | what it is |
//! |---|---|
//! | ca.pem | the authority of fixtures/tls |
//! | server-keystore.pem, expired-keystore.pem | a key and its certificate, as a broker's PEM store wants them: in one file |
//! | jwks.json | the key by which tokens are checked |
//! | good.jwt, expired.jwt, wrong-audience.jwt | tokens that were signed with it |
//! | unsigned.jwt | a token that says so: `"alg": "none"` |
//!
//! Tokens are for alice. They are signed with ES256, because [`graviola`] is in the tree already and needs no C; the key
//! that signs them is forgotten, so that new tokens mean new keys for all.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey};
use serde_json::{Value, json};

/// The folder that the image reserves for keys and passwords.
pub(crate) const MOUNT_POINT: &str = "/etc/kafka/secrets";

/// As good as for ever: a cluster may stay up for long.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const AUDIENCE: &str = "kafka";

/// Fills `folder` with new ones.
pub(crate) fn make(certificates: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("ca.pem", read(certificates, "ca.pem")?)?;
    for name in ["server", "expired"] {
        let key = read(certificates, &format!("{name}.key"))?;
        let certificate = read(certificates, &format!("{name}.pem"))?;
        write(&format!("{name}-keystore.pem"), format!("{key}{certificate}"))?;
    }
    let issuer = Issuer::new()?;
    write("jwks.json", issuer.key_set()?.to_string())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let hour = Duration::from_secs(60 * 60);
    let (then, before) = (now.saturating_add(LIFETIME), now.saturating_sub(hour));
    write("good.jwt", issuer.token(AUDIENCE, before, then)?)?;
    write("expired.jwt", issuer.token(AUDIENCE, before.saturating_sub(hour), before)?)?;
    write("wrong-audience.jwt", issuer.token("elsewhere", before, then)?)?;
    write("unsigned.jwt", format!("{}.", unsigned(&json!({"alg": "none"}), AUDIENCE, before, then)))
}

fn read(certificates: &Path, name: &str) -> anyhow::Result<String> {
    let path = certificates.join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Who signs tokens.
struct Issuer(SigningKey<P256>);

impl Issuer {
    const KEY: &str = "test";
    /// The coordinates of a point on the curve, and each half of a signature.
    const NUMBER: usize = 32;

    fn new() -> anyhow::Result<Self> {
        SigningKey::generate().map(Self).map_err(|error| anyhow!("cannot generate a key: {error:?}"))
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    fn key_set(&self) -> anyhow::Result<Value> {
        let mut buffer = [0; 256];
        let info = self.0.to_spki_der(&mut buffer).map_err(|error| anyhow!("no public key: {error:?}"))?;
        // It ends with the point: the byte 4, which says that it is not compressed, and both coordinates.
        let (rest, y) = info.split_last_chunk::<{ Self::NUMBER }>().context("no y")?;
        let (rest, x) = rest.split_last_chunk::<{ Self::NUMBER }>().context("no x")?;
        ensure!(rest.last() == Some(&4), "the public key is not what it should be");
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": Self::KEY, "x": x, "y": y,
        });
        Ok(json!({ "keys": [key] }))
    }

    /// A signed token (RFC 7515).
    fn token(&self, audience: &str, issued: Duration, expires: Duration) -> anyhow::Result<String> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": Self::KEY});
        let text = unsigned(&header, audience, issued, expires);
        let mut buffer = [0; 2 * Self::NUMBER];
        let signature = self
            .0
            .sign::<Sha256>(&[text.as_bytes()], &mut buffer)
            .map_err(|error| anyhow!("cannot sign a token: {error:?}"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A token but for its signature.
fn unsigned(header: &Value, audience: &str, issued: Duration, expires: Duration) -> String {
    let claims = json!({
        "sub": "alice", "aud": audience, "iss": "xtask", "scope": "test",
        "iat": issued.as_secs(), "exp": expires.as_secs(),
    });
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use graviola::signing::ecdsa::VerifyingKey;

    #[test]
    fn tokens_are_signed_with_the_key_that_is_published() {
        let issuer = Issuer::new().unwrap();
        let set = issuer.key_set().unwrap();
        let number = |name: &str| URL_SAFE_NO_PAD.decode(set["keys"][0][name].as_str().unwrap()).unwrap();
        let point = [vec![4], number("x"), number("y")].concat();
        let key = VerifyingKey::<P256>::from_x962_uncompressed(&point).unwrap();
        let token = issuer.token("kafka", Duration::from_secs(1), Duration::from_secs(2)).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.verify::<Sha256>(&[text.as_bytes()], &signature).unwrap();
        assert!(key.verify::<Sha256>(&[b"another text"], &signature).is_err());
        let claims = URL_SAFE_NO_PAD.decode(text.split_once('.').unwrap().1).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["aud"], &claims["exp"]), (&json!("kafka"), &json!(2)));
    }

    #[test]
    fn all_that_the_compose_file_names_is_made() {
        let root = crate::workspace_root();
        let folder = std::env::temp_dir().join(format!("milena-secrets-{}", std::process::id()));
        make(&root.join("fixtures/tls"), &folder).unwrap();
        let compose = fs::read_to_string(root.join(crate::cluster::SECURE_COMPOSE_FILE)).unwrap();
        let named: Vec<_> = compose.split(&format!("{MOUNT_POINT}/")).skip(1).collect();
        assert!(named.len() > 3, "{named:?}");
        for name in named {
            let name = name.split_whitespace().next().unwrap();
            assert!(folder.join(name).is_file(), "{name}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
