//! From values to tokens of an OpenID Connect provider (KIP-768).

use milena_connection::{Oidc, Sasl, Secret};

use super::{
    jaas::{Jaas, Module},
    names::Setting,
};
use crate::properties::{
    Flavor, PropertyProblem,
    given::{Given, Property, Read},
};

const OTHER_TOKENS: &str = "Milena has tokens of an OpenID Connect provider (oidc); give others to ClientBuilder::sasl by a \
                            TokenProvider, and remove what is of the login";
const HANDLERS: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
];
const RETRIEVERS: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.ClientCredentialsJwtRetriever",
    "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
];
const OPTIONS: &str = "its options are clientId, clientSecret, scope and extension_…, and no others";

impl Given<Setting> {
    pub(super) fn tokens(&self, mechanism: &Property, reaching: &mut Vec<String>) -> Read<Sasl> {
        self.is_from_provider(mechanism)?;
        let mut jaas = match self.property(Setting::Jaas) {
            Some(property) => Some((property, property.jaas(Module::OauthBearer)?)),
            None => None,
        };
        let client_id = self.credential(Setting::OauthClient, &mut jaas, "clientId", CLIENT_ID)?;
        let secret = self.credential(Setting::ClientSecret, &mut jaas, "clientSecret", CLIENT_SECRET)?;
        let scope = self.option(Setting::Scope, &mut jaas, "scope")?;
        let mut extensions = self.extensions()?;
        if let Some((property, jaas)) = &mut jaas {
            extensions.extend(jaas.take_all("extension_"));
            if !jaas.is_done() {
                return property.refused(OPTIONS);
            }
        }
        let url = self.needed(Setting::TokenUrl, "sasl.oauthbearer.token.endpoint.url", mechanism)?;
        reaching.push(url.name.clone());
        let mut builder =
            Oidc::builder(url.value(), client_id.expose(), secret).tls(self.token_tls(reaching)?);
        if let Some(scope) = scope.filter(|scope| !scope.expose().is_empty()) {
            builder = builder.scope(scope.expose());
        }
        for (name, value) in extensions {
            builder = builder.extension(name, value.expose());
        }
        match builder.build() {
            Ok(oidc) => Ok(Sasl::oauth_bearer(oidc)),
            Err(error) => url.refused(error.to_string()),
        }
    }

    /// Refuses tokens that the other client makes by itself or has made by a class.
    fn is_from_provider(&self, mechanism: &Property) -> Read<()> {
        if self.flavor() == Flavor::Librdkafka {
            let method = self.needed(Setting::OauthMethod, "sasl.oauthbearer.method", mechanism)?;
            return if method.value() == "oidc" { Ok(()) } else { method.refused(OTHER_TOKENS) };
        }
        for (setting, known) in [(Setting::LoginHandler, HANDLERS), (Setting::TokenRetriever, RETRIEVERS)] {
            if let Some(class) = self.property(setting)
                && !known.contains(&class.value())
            {
                return class.refused(OTHER_TOKENS);
            }
        }
        Ok(())
    }

    /// What is a property of its own, or an option of the login module.
    fn option(
        &self,
        setting: Setting,
        jaas: &mut Option<(&Property, Jaas)>,
        option: &str,
    ) -> Read<Option<Secret>> {
        let of_jaas = jaas.as_mut().and_then(|(_, jaas)| jaas.take(option));
        match (self.property(setting), of_jaas) {
            (Some(property), Some(_)) => {
                property.refused(format!("{option} is in sasl.jaas.config, too; keep one"))
            }
            (Some(property), None) => Ok(Some(property.secret())),
            (None, of_jaas) => Ok(of_jaas),
        }
    }

    fn credential(
        &self,
        setting: Setting,
        jaas: &mut Option<(&Property, Jaas)>,
        option: &str,
        name: &'static str,
    ) -> Read<Secret> {
        let value = self.option(setting, jaas, option)?;
        value.ok_or_else(|| {
            let reason = "sasl.mechanism is OAUTHBEARER, which needs it".to_owned();
            PropertyProblem::Missing { name, reason }
        })
    }

    /// `name=value` with commas between.
    fn extensions(&self) -> Read<Vec<(String, Secret)>> {
        let Some(property) = self.property(Setting::Extensions) else { return Ok(Vec::new()) };
        let pairs = property.value().split(',').map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), Secret::from(value.trim())))
        });
        match pairs.collect() {
            Some(pairs) => Ok(pairs),
            None => property.refused("it is NAME=VALUE, with commas between"),
        }
    }
}

const CLIENT_ID: &str = "sasl.oauthbearer.client.credentials.client.id";
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";
