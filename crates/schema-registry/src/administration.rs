//! What administrators ask of a registry: compatibility levels and deletes.

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::{
    CompatibilityLevel, Deletion, Error, SchemaRegistry, Version,
    base_url::encoded,
    http::Question,
    registry::{json, version_path},
};

#[derive(Deserialize)]
struct LevelAnswer {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    level: CompatibilityLevel,
}

#[derive(Serialize)]
struct LevelQuestion {
    compatibility: CompatibilityLevel,
}

impl SchemaRegistry {
    /// The level of subjects that have none of their own.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn compatibility_level(&self) -> Result<CompatibilityLevel, Error> {
        let answer: LevelAnswer =
            self.ask("asking for the compatibility level", Method::GET, "/config".to_owned()).await?;
        Ok(answer.level)
    }

    /// Sets the level of subjects that have none of their own.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses.
    pub async fn set_compatibility_level(&self, level: CompatibilityLevel) -> Result<(), Error> {
        self.set_level("setting the compatibility level".to_owned(), "/config".to_owned(), level).await
    }

    /// A subject's own level, if it has one. (Apicurio answers with the global level where there is none.)
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn subject_compatibility_level(
        &self,
        subject: &str,
    ) -> Result<Option<CompatibilityLevel>, Error> {
        let doing = format!("asking for the compatibility level of {subject}");
        match self.ask::<LevelAnswer>(&doing, Method::GET, format!("/config/{}", encoded(subject))).await {
            Ok(answer) => Ok(Some(answer.level)),
            Err(error) if error.is_not_found() && matches!(error.error_code(), Some(40401 | 40408)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a subject a level of its own.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses.
    pub async fn set_subject_compatibility_level(
        &self,
        subject: &str,
        level: CompatibilityLevel,
    ) -> Result<(), Error> {
        let doing = format!("setting the compatibility level of {subject}");
        self.set_level(doing, format!("/config/{}", encoded(subject)), level).await
    }

    async fn set_level(&self, doing: String, path: String, level: CompatibilityLevel) -> Result<(), Error> {
        let body = json(&LevelQuestion { compatibility: level });
        let question = Question { method: Method::PUT, path, body: Some(body) };
        self.0.transport.ask::<serde::de::IgnoredAny>(&doing, question).await.map(drop)
    }

    /// Deletes a version, and gives its number.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none, or it was not deleted softly before it is deleted hard.
    pub async fn delete_version(
        &self,
        subject: &str,
        version: Version,
        deletion: Deletion,
    ) -> Result<u32, Error> {
        let doing = format!("deleting version {version} of {subject}");
        let path = format!("{}{}", version_path(subject, version), permanent(deletion));
        let deleted = self.ask(&doing, Method::DELETE, path).await;
        self.forget(subject);
        deleted
    }

    /// Deletes a subject, and gives the numbers of its versions.
    ///
    /// # Errors
    /// As those of [`delete_version`](Self::delete_version).
    pub async fn delete_subject(&self, subject: &str, deletion: Deletion) -> Result<Vec<u32>, Error> {
        let path = format!("/subjects/{}{}", encoded(subject), permanent(deletion));
        let deleted = self.ask(&format!("deleting {subject}"), Method::DELETE, path).await;
        self.forget(subject);
        deleted
    }

    fn forget(&self, subject: &str) {
        self.0.ids.retain(|key| key.subject != subject);
        self.0.by_version.retain(|(of, _)| of != subject);
    }
}

fn permanent(deletion: Deletion) -> &'static str {
    match deletion {
        Deletion::Soft => "",
        Deletion::Hard => "?permanent=true",
    }
}
