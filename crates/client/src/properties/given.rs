//! Values by the setting that they are for, and what any setting is read as.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use milena_connection::Secret;

use super::{Flavor, PropertyProblem};

/// The properties that are settings, by setting.
#[derive(Debug)]
pub(super) struct Given<S> {
    flavor: Flavor,
    values: BTreeMap<S, Property>,
}

/// A property as the user named it.
#[derive(Clone, Debug)]
pub(super) struct Property {
    pub(super) name: String,
    value: Secret,
}

pub(super) type Read<T> = Result<T, PropertyProblem>;

pub(super) const INT: u64 = i32::MAX as u64;
pub(super) const LONG: u64 = i64::MAX as u64;
/// What librdkafka takes with the blanks around it. Java takes nothing so.
const VERBATIM: [&str; 3] =
    ["sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret", "sasl.password"];
const MS: &str = "milliseconds";
const BYTES: &str = "bytes";

/// What was read. What is not named and what can't be read look the same from here on: with a problem nothing is used.
pub(super) fn noted<T>(problems: &mut Vec<PropertyProblem>, read: Read<Option<T>>) -> Option<T> {
    read.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    })
}

impl<S: Copy + Ord> Given<S> {
    pub(super) const fn new(flavor: Flavor) -> Self {
        Self { flavor, values: BTreeMap::new() }
    }

    /// Two names may be the same setting, but not with different values.
    pub(super) fn add(&mut self, setting: S, name: String, value: String) -> Option<PropertyProblem> {
        let is_verbatim = self.flavor == Flavor::Librdkafka && VERBATIM.contains(&name.as_str());
        // A value that is taken as it is leaves no copy behind.
        let is_bare = is_verbatim || value.trim().len() == value.len();
        let value = if is_bare { Secret::from(value) } else { Secret::from(value.trim()) };
        match self.values.get(&setting) {
            Some(before) if before.value != value => {
                Some(PropertyProblem::Twice { name: before.name.clone(), other: name })
            }
            Some(_) => None,
            None => {
                self.values.insert(setting, Property { name, value });
                None
            }
        }
    }

    pub(super) const fn flavor(&self) -> Flavor {
        self.flavor
    }

    pub(super) fn property(&self, setting: S) -> Option<&Property> {
        self.values.get(&setting)
    }

    pub(super) fn number(
        &self,
        setting: S,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Read<Option<(u64, &Property)>> {
        let Some(property) = self.property(setting) else { return Ok(None) };
        let (least, most) = (range.start(), range.end());
        match property.value().parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(Some((number, property))),
            _ if *most == LONG => {
                property.invalid(format!("it is a number of {unit} from {least} on, without a unit"))
            }
            _ => property.invalid(format!("it is a number of {unit} from {least} to {most}, without a unit")),
        }
    }

    pub(super) fn ms(&self, setting: S, range: RangeInclusive<u64>) -> Read<Option<Duration>> {
        Ok(self.number(setting, range, MS)?.map(|(ms, _)| Duration::from_millis(ms)))
    }

    pub(super) fn bytes(&self, setting: S, range: RangeInclusive<u64>) -> Read<Option<usize>> {
        self.bytes_or(setting, range, BYTES)
    }

    pub(super) fn bytes_or(&self, setting: S, range: RangeInclusive<u64>, unit: &str) -> Read<Option<usize>> {
        let Some((number, property)) = self.number(setting, range, unit)? else { return Ok(None) };
        match usize::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => property.invalid("this machine has no such number of them"),
        }
    }

    /// As each client reads it: Java in any case, librdkafka also as 1 and 0.
    pub(super) fn flag(&self, setting: S) -> Read<Option<bool>> {
        let Some(property) = self.property(setting) else { return Ok(None) };
        let is_java = self.flavor == Flavor::Java;
        match property.value().to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            "1" | "t" if !is_java => Ok(Some(true)),
            "0" | "f" if !is_java => Ok(Some(false)),
            _ => property.invalid("it is true or false"),
        }
    }
}

impl Property {
    pub(super) fn value(&self) -> &str {
        self.value.expose()
    }

    /// The value, still one that is not printed.
    pub(super) fn secret(&self) -> Secret {
        self.value.clone()
    }

    pub(super) fn invalid<T>(&self, rule: impl Into<String>) -> Read<T> {
        let (name, value) = (self.name.clone(), self.value().to_owned());
        Err(PropertyProblem::Invalid { name, value, rule: rule.into() })
    }

    pub(super) fn no_effect<T>(&self, advice: &'static str) -> Read<T> {
        Err(PropertyProblem::NoEffect { name: self.name.clone(), advice })
    }

    /// As [`invalid`](Self::invalid), without showing the value.
    pub(super) fn refused<T>(&self, reason: impl Into<String>) -> Read<T> {
        Err(PropertyProblem::Refused { name: self.name.clone(), reason: reason.into() })
    }
}
