//! AWS credentials, and where they come from.

use std::{env, future::Future, pin::Pin, time::SystemTime};

use super::MskIamError;
use crate::Secret;

/// What AWS knows a user or role by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Option<Secret>,
    pub(super) expiry: Option<SystemTime>,
}

impl AwsCredentials {
    /// The credentials of a user, which are good until somebody withdraws them.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            expiry: None,
        }
    }

    /// Adds the token that belongs to the credentials of a session: of a role, say.
    #[must_use]
    pub fn with_session_token(mut self, session_token: impl Into<Secret>) -> Self {
        self.session_token = Some(session_token.into());
        self
    }

    /// Says from when on AWS does not take these credentials. A login after that fails without asking anybody.
    #[must_use]
    pub fn with_expiry(mut self, expiry: SystemTime) -> Self {
        self.expiry = Some(expiry);
        self
    }
}

/// Credentials under way, or why there are none.
type Wanted<'p> = Pin<
    Box<dyn Future<Output = Result<AwsCredentials, Box<dyn std::error::Error + Send + Sync>>> + Send + 'p>,
>;

/// Where AWS credentials come from. [`AwsCredentials`] are the provider of themselves; a closure that returns some, of new
/// ones: from the AWS SDK, say, with roles, profiles and metadata services, none of which is looked into here.
pub trait AwsCredentialsProvider: Send + Sync {
    /// Credentials that are valid for a while. They are asked for at every login, under the connection's setup timeout; a
    /// provider that has to fetch them keeps them until shortly before they expire.
    fn credentials(&self) -> Wanted<'_>;
}

impl AwsCredentialsProvider for AwsCredentials {
    fn credentials(&self) -> Wanted<'_> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl<P, F, E> AwsCredentialsProvider for P
where
    P: Fn() -> F + Send + Sync,
    F: Future<Output = Result<AwsCredentials, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn credentials(&self) -> Wanted<'_> {
        let wanted = self();
        Box::pin(async move { wanted.await.map_err(Into::into) })
    }
}

/// The credentials in the environment variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if it is there,
/// `AWS_SESSION_TOKEN`, as they are at every login.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsEnvironment;

impl AwsCredentialsProvider for AwsEnvironment {
    fn credentials(&self) -> Wanted<'_> {
        let found = from_variables(|name| env::var(name).ok());
        Box::pin(std::future::ready(found.map_err(Into::into)))
    }
}

/// An empty variable is as good as none.
fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<AwsCredentials, MskIamError> {
    let filled = |name| variable(name).filter(|value| !value.is_empty());
    let needed = |name| filled(name).ok_or(MskIamError::NoVariable(name));
    let credentials = AwsCredentials::new(needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
    Ok(match filled("AWS_SESSION_TOKEN") {
        Some(token) => credentials.with_session_token(token),
        None => credentials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<AwsCredentials, MskIamError> {
        from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_are_credentials_when_all_that_is_needed_is_there() {
        let (id, secret) = (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "canary"));
        let user = AwsCredentials::new("AKIDEXAMPLE", "canary");
        assert_eq!(from(&[id, secret]), Ok(user.clone()));
        assert_eq!(from(&[id, secret, ("AWS_SESSION_TOKEN", "")]), Ok(user.clone()));
        let session = user.with_session_token("canary");
        assert_eq!(from(&[id, secret, ("AWS_SESSION_TOKEN", "canary")]), Ok(session.clone()));
        assert_eq!(from(&[secret]), Err(MskIamError::NoVariable("AWS_ACCESS_KEY_ID")));
        assert_eq!(from(&[id]), Err(MskIamError::NoVariable("AWS_SECRET_ACCESS_KEY")));
        assert_eq!(
            from(&[id, ("AWS_SECRET_ACCESS_KEY", "")]),
            Err(MskIamError::NoVariable("AWS_SECRET_ACCESS_KEY"))
        );
        assert!(!format!("{session:?}").contains("canary"));
    }
}
