//! From values to a login.

use milena_connection::{Sasl, Secret};

use super::{
    jaas::{Jaas, Module},
    names::Setting,
};
use crate::properties::{
    Flavor, PropertyProblem,
    given::{Given, Property, Read},
};

const MECHANISMS: &str = "it is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";
const NO_TOKENS: &str = "sasl.mechanism is not OAUTHBEARER; remove it";
const NO_PASSWORD: &str = "OAUTHBEARER has tokens, and neither user nor password; remove it";

/// The settings of OAUTHBEARER alone.
const OF_TOKENS: [Setting; 10] = [
    Setting::ClientSecret,
    Setting::Extensions,
    Setting::LoginHandler,
    Setting::OauthClient,
    Setting::OauthMethod,
    Setting::Scope,
    Setting::TokenAuthorities,
    Setting::TokenAuthoritiesPem,
    Setting::TokenRetriever,
    Setting::TokenUrl,
];

impl Given<Setting> {
    pub(super) fn sasl(
        &self,
        reaching: &mut Vec<String>,
        problems: &mut Vec<PropertyProblem>,
    ) -> Read<Option<Sasl>> {
        let Some(mechanism) = self.property(Setting::Mechanism) else {
            let reason = format!("security.protocol asks for a login; {MECHANISMS}");
            return Err(PropertyProblem::Missing { name: "sasl.mechanism", reason });
        };
        let login: fn(String, Secret) -> Sasl = match mechanism.value() {
            "PLAIN" => Sasl::plain,
            "SCRAM-SHA-256" => Sasl::scram_sha_256,
            "SCRAM-SHA-512" => Sasl::scram_sha_512,
            "OAUTHBEARER" => {
                problems.extend(self.useless(&[Setting::User, Setting::Password], NO_PASSWORD));
                return self.tokens(mechanism, reaching).map(Some);
            }
            "GSSAPI" => {
                return mechanism.refused("Milena has no Kerberos; take SCRAM-SHA-512 or OAUTHBEARER");
            }
            "AWS_MSK_IAM" => {
                return mechanism.refused(
                    "Amazon's login is MskIam, by ClientBuilder::sasl and the feature `msk-iam`; set security.protocol to \
                     SSL, and remove what is of the login",
                );
            }
            _ => return mechanism.invalid(MECHANISMS),
        };
        problems.extend(self.useless(&OF_TOKENS, NO_TOKENS));
        let (user, password) = match self.flavor() {
            Flavor::Java => self.jaas_login(mechanism)?,
            Flavor::Librdkafka => {
                let user = self.needed(Setting::User, "sasl.username", mechanism)?;
                (
                    user.value().to_owned(),
                    self.needed(Setting::Password, "sasl.password", mechanism)?.secret(),
                )
            }
        };
        Ok(Some(login(user, password)))
    }

    fn jaas_login(&self, mechanism: &Property) -> Read<(String, Secret)> {
        let property = self.needed(Setting::Jaas, "sasl.jaas.config", mechanism)?;
        let module = if mechanism.value() == "PLAIN" { Module::Plain } else { Module::Scram };
        let mut jaas = property.jaas(module)?;
        let login = (jaas.take("username"), jaas.take("password"));
        match login {
            (Some(user), Some(password)) if jaas.is_done() => Ok((user.expose().to_owned(), password)),
            _ => property.refused("its options are username and password, both of them and no others"),
        }
    }

    pub(super) fn needed(
        &self,
        setting: Setting,
        name: &'static str,
        mechanism: &Property,
    ) -> Read<&Property> {
        match self.property(setting) {
            // As a variable is that nobody has set.
            Some(property) if property.value().is_empty() => property.refused("it is empty"),
            Some(property) => Ok(property),
            None => {
                let reason = format!("{} is {}, which needs it", mechanism.name, mechanism.value());
                Err(PropertyProblem::Missing { name, reason })
            }
        }
    }

    #[cfg(not(feature = "oidc"))]
    #[expect(clippy::unused_self, reason = "with the feature it is used")]
    fn tokens(&self, mechanism: &Property, _: &mut Vec<String>) -> Read<Sasl> {
        mechanism.refused(
            "tokens from an OpenID Connect provider need milena's feature `oidc`; other ones come from a TokenProvider, by \
             ClientBuilder::sasl",
        )
    }
}

impl Property {
    /// The configuration of a login by this module.
    pub(super) fn jaas(&self, module: Module) -> Read<Jaas> {
        match Jaas::read(self.value()) {
            Ok(jaas) if jaas.module == module => Ok(jaas),
            Ok(_) => self.refused("its login module is another mechanism's than sasl.mechanism"),
            Err(reason) => self.refused(reason),
        }
    }
}
