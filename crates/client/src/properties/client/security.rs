//! Whether connections are encrypted and who logs in: what `security.protocol` and the settings around it come to.

use milena_connection::Sasl;
#[cfg(feature = "_tls")]
use milena_connection::Tls;

use super::names::Setting;
#[cfg(feature = "_tls")]
use crate::properties::given::Property;
use crate::properties::{
    PropertyProblem,
    given::{Given, noted},
};

/// How connections are secured.
#[derive(Clone, Debug, Default)]
pub(super) struct Security {
    pub(super) is_encrypted: bool,
    #[cfg(feature = "_tls")]
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Sasl>,
    /// The properties that name a file or an address that gets secrets.
    pub(super) reaching: Vec<String>,
}

const NEEDS_TLS: &str = "security.protocol has no TLS; set it to SSL or SASL_SSL, or remove this";
const NEEDS_SASL: &str = "security.protocol has no login; set it to SASL_SSL, or remove this";

impl Given<Setting> {
    /// Reads everything about security. What can't be read is added to `problems`.
    pub(super) fn security(&self, problems: &mut Vec<PropertyProblem>) -> Security {
        let mut security = Security::default();
        let Some(protocol) = self.property(Setting::SecurityProtocol) else {
            problems.extend(self.unprotected());
            return security;
        };
        let (is_encrypted, logs_in) = match protocol.value().to_ascii_uppercase().as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => {
                let rule = "it is one of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL";
                noted::<()>(problems, protocol.invalid(rule));
                return security;
            }
        };
        security.is_encrypted = is_encrypted;
        if is_encrypted {
            #[cfg(feature = "_tls")]
            self.read_tls(&mut security, problems);
            #[cfg(not(feature = "_tls"))]
            noted::<()>(
                problems,
                protocol.refused("this program has no TLS; build milena with its feature `tls`"),
            );
        } else {
            problems.extend(self.useless(&Setting::TLS, NEEDS_TLS));
        }
        if logs_in {
            let sasl = self.sasl(&mut security.reaching, problems);
            security.sasl = noted(problems, sasl);
        } else {
            problems.extend(self.useless(&Setting::SASL, NEEDS_SASL));
        }
        security
    }

    /// Settings for a secure connection without the one that makes it so: a client that ignored them would be the
    /// opposite of what was meant.
    fn unprotected(&self) -> Option<PropertyProblem> {
        let named = |settings: &[Setting]| {
            settings.iter().find_map(|setting| self.property(*setting)).map(|property| property.name.clone())
        };
        let (name, protocols) = match (named(&Setting::SASL), named(&Setting::TLS)) {
            (Some(name), _) => (name, "SASL_SSL"),
            (None, Some(name)) => (name, "SSL, or to SASL_SSL with a login"),
            (None, None) => return None,
        };
        let reason = format!("without it {name} has no effect; set it to {protocols}");
        Some(PropertyProblem::Missing { name: "security.protocol", reason })
    }

    /// Settings that are there in vain.
    pub(super) fn useless(&self, settings: &[Setting], advice: &'static str) -> Vec<PropertyProblem> {
        let named = settings.iter().filter_map(|setting| self.property(*setting));
        named.map(|property| PropertyProblem::NoEffect { name: property.name.clone(), advice }).collect()
    }

    /// The one of two properties that is there, by which of them it is.
    #[cfg(feature = "_tls")]
    pub(super) fn either(
        &self,
        first: Setting,
        second: Setting,
    ) -> Result<Option<Either<'_>>, PropertyProblem> {
        match (self.property(first), self.property(second)) {
            (Some(first), Some(second)) => second.refused(format!("{} is there, too; keep one", first.name)),
            (Some(first), None) => Ok(Some(Either::First(first))),
            (None, Some(second)) => Ok(Some(Either::Second(second))),
            (None, None) => Ok(None),
        }
    }
}

/// One of two properties.
#[cfg(feature = "_tls")]
pub(super) enum Either<'p> {
    First(&'p Property),
    Second(&'p Property),
}
