//! Logins to Amazon MSK by AWS credentials.
//!
//! The token of OAUTHBEARER is a URL that calls `kafka-cluster:Connect`, signed with the credentials and never called by
//! the client: the broker looks at who signed it.

mod credentials;
mod signature;

use std::{fmt, sync::Arc, time::SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::credentials::{AwsCredentials, AwsCredentialsProvider, AwsEnvironment};
use self::signature::presigned_url;
use crate::{
    Token,
    sasl::{TokenProvider, Wanted},
};

/// Which program signs, for the logs of AWS.
const USER_AGENT: &str = concat!("milena/", env!("CARGO_PKG_VERSION"));

/// Logs in to Amazon MSK as an AWS user or role (IAM access control), for
/// [`Sasl::oauth_bearer`](crate::Sasl::oauth_bearer) over TLS. MSK's port for it is 9098, or 9198 from outside AWS.
///
/// Every login signs a token of its own, for 15 minutes, without asking anybody but the provider of the credentials; the
/// session behind it is renewed as the broker wants it. The clock of this machine must be right within some minutes.
#[derive(Clone)]
pub struct MskIam {
    region: String,
    credentials: Arc<dyn AwsCredentialsProvider>,
}

/// Why there is no token for MSK. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MskIamError {
    /// The region is not one.
    #[error("a region of AWS is made of lower-case letters, digits and hyphens, as in eu-central-1")]
    Region,
    /// The credentials are none.
    #[error("an access key id is made of letters and digits, and its secret is not empty")]
    Credentials,
    /// The credentials have expired, and their provider gave no others.
    #[error("the AWS credentials have expired")]
    Expired,
    /// An environment variable is missing or empty.
    #[error("the environment variable {0} is not set")]
    NoVariable(&'static str),
    /// The provider has no credentials.
    #[error("there are no AWS credentials: {0}")]
    NoCredentials(String),
    /// The clock is before 1970 or behind 9999.
    #[error("the clock of this machine is wrong")]
    Clock,
}

impl MskIam {
    /// Logs in to clusters of this region with what the provider gives: [`AwsCredentials`], [`AwsEnvironment`] or a closure.
    ///
    /// ```
    /// # use milena_connection::{AwsEnvironment, MskIam, MskIamError, Sasl};
    /// # fn sasl() -> Result<Sasl, MskIamError> {
    /// let sasl = Sasl::oauth_bearer(MskIam::new("eu-central-1", AwsEnvironment)?);
    /// # Ok(sasl)
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the region can't be one.
    pub fn new(
        region: impl Into<String>,
        credentials: impl AwsCredentialsProvider + 'static,
    ) -> Result<Self, MskIamError> {
        let region = region.into();
        let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || region.len() > 63 || !region.bytes().all(is_region) {
            return Err(MskIamError::Region);
        }
        Ok(Self { region, credentials: Arc::new(credentials) })
    }

    async fn signed(&self) -> Result<Token, MskIamError> {
        let credentials = self.credentials.credentials().await;
        let credentials = credentials.map_err(|error| MskIamError::NoCredentials(error.to_string()))?;
        sign(SystemTime::now(), &self.region, &credentials, USER_AGENT)
    }
}

impl TokenProvider for MskIam {
    fn token(&self) -> Wanted<'_> {
        Box::pin(async { self.signed().await.map_err(Into::into) })
    }
}

impl fmt::Debug for MskIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MskIam").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The token of these credentials at this moment.
fn sign(
    now: SystemTime,
    region: &str,
    credentials: &AwsCredentials,
    user_agent: &str,
) -> Result<Token, MskIamError> {
    let AwsCredentials { access_key_id: id, secret_access_key: secret, expiry, .. } = credentials;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) || secret.expose().is_empty() {
        return Err(MskIamError::Credentials);
    }
    if expiry.is_some_and(|expiry| expiry <= now) {
        return Err(MskIamError::Expired);
    }
    let url: Zeroizing<String> = presigned_url(now, region, credentials, user_agent)?;
    // Its letters are those of tokens, so it is one.
    Token::new(BASE64_URL_SAFE_NO_PAD.encode(url.as_bytes())).map_err(|_| MskIamError::Credentials)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::Sasl;

    const VECTORS: &str = include_str!("../../../../fixtures/msk-iam/vectors.tsv");

    #[test]
    fn tokens_are_those_that_awss_own_program_makes() {
        let mut seen = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split('\t').collect();
            let &[seconds, region, id, secret, session, user_agent, expected] = &fields[..] else {
                panic!("{line}")
            };
            let credentials = match session {
                "" => AwsCredentials::new(id, secret),
                session => AwsCredentials::new(id, secret).with_session_token(session),
            };
            let now = UNIX_EPOCH + Duration::from_secs(seconds.parse().unwrap());
            let token = sign(now, region, &credentials, user_agent).unwrap();
            assert!(token == Token::new(expected).unwrap(), "{line}");
            seen += 1;
        }
        assert_eq!(seen, 24);
    }

    #[test]
    fn what_cannot_be_signed_is_refused() {
        let user = || AwsCredentials::new("AKIDEXAMPLE", "secret");
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let sign = |credentials: AwsCredentials| sign(now, "us-east-1", &credentials, USER_AGENT).map(|_| ());
        assert_eq!(sign(user().with_expiry(now + Duration::from_secs(1))), Ok(()));
        assert_eq!(sign(user().with_expiry(now)), Err(MskIamError::Expired));
        assert_eq!(sign(AwsCredentials::new("", "secret")), Err(MskIamError::Credentials));
        assert_eq!(sign(AwsCredentials::new("A/B", "secret")), Err(MskIamError::Credentials));
        assert_eq!(sign(AwsCredentials::new("AKIDEXAMPLE", "")), Err(MskIamError::Credentials));
        for region in ["", "evil.example/", "US-EAST-1", "us_east", "us-east-1\n"] {
            assert_eq!(MskIam::new(region, user()).unwrap_err(), MskIamError::Region);
        }
    }

    #[tokio::test]
    async fn credentials_come_from_whoever_gives_them_and_are_not_told() {
        let fixed = AwsCredentials::new("AKIDEXAMPLE", "canary").with_session_token("canary");
        let given = fixed.clone();
        let closure = move || std::future::ready(Ok::<_, MskIamError>(given.clone()));
        for iam in [MskIam::new("us-east-1", fixed), MskIam::new("us-east-1", closure)] {
            let iam = iam.unwrap();
            let token = iam.token().await.unwrap();
            let told = format!("{iam:?} {token:?} {:?}", Sasl::oauth_bearer(iam.clone()));
            assert!(!told.contains("canary"), "{told}");
        }
        let none = || std::future::ready(Err::<AwsCredentials, _>("the metadata service is silent"));
        let error = MskIam::new("us-east-1", none).unwrap().token().await.unwrap_err();
        assert_eq!(error.to_string(), "there are no AWS credentials: the metadata service is silent");
    }
}
