//! From values to TLS: certificates in PEM, from files or in the properties themselves.

use milena_connection::{Secret, Tls};

use super::{
    names::Setting,
    pem,
    security::{Either, Security},
};
use crate::properties::{
    Flavor, PropertyProblem,
    given::{Given, Property, Read, noted},
};

const TRUSTSTORE: &str = "Milena reads PEM: keytool -list -rfc -keystore STORE > ca.pem writes it";
const KEYSTORE: &str = "Milena reads PEM: openssl pkcs12 -in STORE -nodes -out client.pem writes it, of JKS after keytool \
                        -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12";
const NO_PASSWORD: &str = "PEM has no password; remove it";
const KEY_PASSWORD: &str = "Milena takes a key without a password: openssl pkey -in KEY -out PLAIN-KEY takes it off; then remove this";
const DANGEROUS: &str = "who wants to believe any broker says so in the program, by ClientBuilder::tls with \
                         Tls::dangerous().without_verification(); remove it";

/// Where a text in PEM is.
enum Pem {
    File(String),
    Text(Secret),
}

impl Given<Setting> {
    pub(super) fn read_tls(&self, security: &mut Security, problems: &mut Vec<PropertyProblem>) {
        noted(problems, self.verifies());
        noted(problems, self.names());
        noted(problems, self.protocols());
        problems.extend(self.useless(&[Setting::TruststorePassword], NO_PASSWORD));
        let authorities = noted(problems, self.authorities(&mut security.reaching));
        let identity = noted(problems, self.identity(&mut security.reaching));
        let tls = tls(authorities);
        security.tls = Some(match identity {
            Some((Pem::File(certificate), Pem::File(key))) => tls.client_certificate_files(certificate, key),
            Some((Pem::Text(certificate), Pem::Text(key))) => {
                tls.client_certificate_pem(certificate.expose(), key)
            }
            _ => tls,
        });
    }

    /// How a token endpoint proves who it is.
    #[cfg(feature = "oidc")]
    pub(super) fn token_tls(&self, reaching: &mut Vec<String>) -> Read<Tls> {
        Ok(tls(self.authorities_of(Setting::TokenAuthorities, Setting::TokenAuthoritiesPem, reaching)?))
    }

    fn verifies(&self) -> Read<Option<()>> {
        match (self.flag(Setting::Verification)?, self.property(Setting::Verification)) {
            (Some(false), Some(property)) => property.refused(DANGEROUS),
            _ => Ok(None),
        }
    }

    fn names(&self) -> Read<Option<()>> {
        match self.property(Setting::Identification) {
            Some(property)
                if property.value().is_empty() || property.value().eq_ignore_ascii_case("none") =>
            {
                property.refused(DANGEROUS)
            }
            Some(property) if !property.value().eq_ignore_ascii_case("https") => {
                property.invalid("it is https")
            }
            _ => Ok(None),
        }
    }

    fn protocols(&self) -> Read<Option<()>> {
        let Some(property) = self.property(Setting::Protocols) else { return Ok(None) };
        let mut named: Vec<&str> = property.value().split(',').map(str::trim).collect();
        named.sort_unstable();
        if named == ["TLSv1.2", "TLSv1.3"] {
            return Ok(None);
        }
        property.invalid("Milena has TLSv1.2,TLSv1.3, and both of them; set that, or remove it")
    }

    fn authorities(&self, reaching: &mut Vec<String>) -> Read<Option<Pem>> {
        if self.flavor() == Flavor::Librdkafka {
            return self.authorities_of(Setting::Authorities, Setting::AuthoritiesPem, reaching);
        }
        let location = self.property(Setting::TruststoreLocation);
        let store = location.or(self.property(Setting::TruststorePem));
        self.is_pem("ssl.truststore.type", Setting::TruststoreType, store, TRUSTSTORE)?;
        self.authorities_of(Setting::TruststoreLocation, Setting::TruststorePem, reaching)
    }

    fn authorities_of(&self, file: Setting, text: Setting, reaching: &mut Vec<String>) -> Read<Option<Pem>> {
        match self.either(file, text)? {
            // librdkafka looks for the system's authorities then.
            Some(Either::First(file)) if self.flavor() == Flavor::Librdkafka && file.value() == "probe" => {
                Ok(None)
            }
            Some(Either::First(file)) => file.file(reaching).map(Some),
            Some(Either::Second(text)) => text.pem(pem::certificates).map(Some),
            None => Ok(None),
        }
    }

    /// The client's own certificate, and its key.
    fn identity(&self, reaching: &mut Vec<String>) -> Read<Option<(Pem, Pem)>> {
        if let Some(password) = self.property(Setting::KeyPassword) {
            return password.refused(KEY_PASSWORD);
        }
        match self.flavor() {
            Flavor::Java => self.keystore(reaching),
            Flavor::Librdkafka => self.certificate_and_key(reaching),
        }
    }

    fn keystore(&self, reaching: &mut Vec<String>) -> Read<Option<(Pem, Pem)>> {
        let location = self.property(Setting::KeystoreLocation);
        let (chain, key) = (self.property(Setting::KeystoreChain), self.property(Setting::KeystoreKey));
        self.is_pem("ssl.keystore.type", Setting::KeystoreType, location.or(chain).or(key), KEYSTORE)?;
        if let Some(password) = self.property(Setting::KeystorePassword) {
            return password.no_effect(NO_PASSWORD);
        }
        match (location, chain, key) {
            (None, None, None) => Ok(None),
            (Some(file), None, None) => {
                let file = file.file(reaching)?;
                Ok(match file {
                    // Both are in it.
                    Pem::File(path) => Some((Pem::File(path.clone()), Pem::File(path))),
                    Pem::Text(_) => None,
                })
            }
            (Some(file), _, _) => {
                file.refused("ssl.keystore.key or ssl.keystore.certificate.chain is there, too; keep one")
            }
            (None, Some(chain), Some(key)) => Ok(Some((chain.pem(pem::certificates)?, key.pem(pem::key)?))),
            (None, Some(_), None) => missing("ssl.keystore.key", "ssl.keystore.certificate.chain"),
            (None, None, Some(_)) => missing("ssl.keystore.certificate.chain", "ssl.keystore.key"),
        }
    }

    fn certificate_and_key(&self, reaching: &mut Vec<String>) -> Read<Option<(Pem, Pem)>> {
        if let Some(store) = self.property(Setting::KeystoreLocation) {
            return store
                .refused(format!("{KEYSTORE}; name it in ssl.certificate.location and ssl.key.location"));
        }
        if let Some(password) = self.property(Setting::KeystorePassword) {
            return password.no_effect("there is no ssl.keystore.location; remove it");
        }
        let certificate = self.either(Setting::Certificate, Setting::CertificatePem)?;
        let key = self.either(Setting::Key, Setting::KeyPem)?;
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(Either::First(certificate)), Some(Either::First(key))) => {
                Ok(Some((certificate.file(reaching)?, key.file(reaching)?)))
            }
            (Some(Either::Second(certificate)), Some(Either::Second(key))) => {
                Ok(Some((certificate.pem(pem::certificates)?, key.pem(pem::key)?)))
            }
            (Some(_), Some(Either::First(key) | Either::Second(key))) => {
                key.refused("certificate and key are both named by location, or both there as PEM")
            }
            (Some(_), None) => missing("ssl.key.location", "the client's certificate"),
            (None, Some(_)) => missing("ssl.certificate.location", "the client's key"),
        }
    }

    /// Java's stores have a type, which is not PEM unless it is said.
    fn is_pem(&self, name: &'static str, kind: Setting, store: Option<&Property>, how: &str) -> Read<()> {
        match (self.property(kind), store) {
            (Some(kind), _) if kind.value() != "PEM" => {
                kind.refused(format!("{how}; then name that file, and set this to PEM"))
            }
            (None, Some(store)) => {
                let reason = format!(
                    "without it {} is JKS to Java. {how}; then name that file, and set this to PEM",
                    store.name
                );
                Err(PropertyProblem::Missing { name, reason })
            }
            (Some(kind), None) => kind.no_effect("there is no store of that type; remove it"),
            _ => Ok(()),
        }
    }
}

impl Property {
    fn file(&self, reaching: &mut Vec<String>) -> Read<Pem> {
        if self.value().is_empty() {
            return self.refused("it names no file; remove it");
        }
        reaching.push(self.name.clone());
        Ok(Pem::File(self.value().to_owned()))
    }

    fn pem(&self, read: fn(&str) -> Result<Secret, &'static str>) -> Read<Pem> {
        match read(self.value()) {
            Ok(text) => Ok(Pem::Text(text)),
            Err(reason) => self.refused(reason),
        }
    }
}

fn tls(authorities: Option<Pem>) -> Tls {
    match authorities {
        Some(Pem::File(path)) => Tls::ca_file(path),
        Some(Pem::Text(text)) => Tls::ca_pem(text.expose()),
        None => Tls::system_roots(),
    }
}

fn missing<T>(name: &'static str, other: &str) -> Read<T> {
    Err(PropertyProblem::Missing {
        name,
        reason: format!("{other} is there, and one is of no use without the other"),
    })
}
