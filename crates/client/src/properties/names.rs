//! What a name is about, for each handle.

use std::collections::BTreeMap;

use super::{Flavor, PropertiesOf, PropertyProblem, given::Given};

/// What a name is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning<S> {
    /// A setting of the handle.
    Setting(S),
    /// Something else than the handle: handed back to the caller.
    Left,
    /// Milena does what this value says and nothing else.
    Only(&'static str, &'static str),
    /// Nothing in Milena; what to do about it.
    Nothing(&'static str),
}

/// A name, and what it is about.
pub(super) type Named<S> = (&'static str, Meaning<S>);

/// What properties are made for.
pub(super) trait Handle {
    type Setting: Copy + Ord + 'static;

    const OF: PropertiesOf;

    /// Families of names that are about something else.
    const LEFT_PREFIXES: &'static [&'static str];

    /// Every name that is known, the handle's own first.
    fn known(flavor: Flavor) -> impl Iterator<Item = Named<Self::Setting>>;
}

/// Properties by what they are about, and those that are wrong.
pub(super) struct Sorted<S> {
    pub(super) given: Given<S>,
    pub(super) left: BTreeMap<String, String>,
    pub(super) problems: Vec<PropertyProblem>,
}

/// Sorts names and values by what they are about.
pub(super) fn sort<H: Handle>(
    flavor: Flavor,
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Sorted<H::Setting> {
    let mut sorted = Sorted { given: Given::new(flavor), left: BTreeMap::new(), problems: Vec::new() };
    for (name, value) in pairs {
        let problem = match meaning::<H>(flavor, &name) {
            Some(Meaning::Setting(setting)) => sorted.given.add(setting, name, value),
            Some(Meaning::Left) => leave(&mut sorted.left, name, value),
            Some(Meaning::Only(only, _)) if value.trim() == only => None,
            Some(Meaning::Only(_, advice) | Meaning::Nothing(advice)) => {
                Some(PropertyProblem::NoEffect { name, advice })
            }
            None => Some(unknown::<H>(flavor, name)),
        };
        sorted.problems.extend(problem);
    }
    sorted
}

fn leave(left: &mut BTreeMap<String, String>, name: String, value: String) -> Option<PropertyProblem> {
    match left.get(&name) {
        Some(before) if *before != value => Some(PropertyProblem::Twice { other: name.clone(), name }),
        Some(_) => None,
        None => {
            left.insert(name, value);
            None
        }
    }
}

fn unknown<H: Handle>(flavor: Flavor, name: String) -> PropertyProblem {
    let other = flavor.other();
    let other = meaning::<H>(other, &name).is_some().then_some(other);
    PropertyProblem::Unknown { near: near::<H>(flavor, &name), name, of: H::OF, flavor, other }
}

/// What `name` is about among the names of `flavor`.
pub(super) fn meaning<H: Handle>(flavor: Flavor, name: &str) -> Option<Meaning<H::Setting>> {
    let of_prefix =
        || H::LEFT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)).then_some(Meaning::Left);
    H::known(flavor).find(|(known, _)| *known == name).map(|(_, meaning)| meaning).or_else(of_prefix)
}

/// A known name that `name` may have been meant to be: the same but for its punctuation, behind a prefix, or with a slip.
fn near<H: Handle>(flavor: Flavor, name: &str) -> Option<&'static str> {
    // No name is nearly so long, and the distance takes the time of both lengths.
    if name.len() > 100 {
        return None;
    }
    let bare = |name: &str| {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
    };
    let wanted = bare(name);
    let distance = |known: &str| {
        let is_behind = name.strip_suffix(known).is_some_and(|prefix| prefix.ends_with('.'));
        if is_behind { 0 } else { strsim::osa_distance(&wanted, &bare(known)) }
    };
    let nearest = H::known(flavor).map(|(known, _)| (distance(known), known)).min()?;
    // One slip for every six letters that are begun.
    (nearest.0 <= wanted.len().div_ceil(6)).then_some(nearest.1)
}

/// The names that are about the client, keys and values, or logs, to a handle that is none of them.
pub(super) fn left<S: 'static>() -> impl Iterator<Item = Named<S>> {
    CLIENT.iter().map(|name| (*name, Meaning::Left)).chain(aside())
}

/// The names that are about keys and values or logs.
pub(super) fn aside<S: 'static>() -> impl Iterator<Item = Named<S>> {
    ASIDE.iter().map(|name| (*name, Meaning::Left))
}

pub(super) const NO_CLASSES: &str = "Milena runs no Java class; remove it";
pub(super) const METRICS: &str = "Milena pushes no metrics (KIP-714); remove it or set it to false";

/// Names about keys and values, measuring and logging.
const ASIDE: &[&str] = &[
    "auto.register.schemas",
    "debug",
    "log.connection.close",
    "log.queue",
    "log.thread.name",
    "log_level",
    "metric.reporters",
    "statistics.interval.ms",
    "use.latest.version",
];

/// The same for whole families.
pub(super) const ASIDE_PREFIXES: &[&str] = &["basic.auth.", "metrics.", "schema.registry."];

/// Names about the client.
const CLIENT: &[&str] = &[
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "bootstrap.controllers",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "client.dns.lookup",
    "client.id",
    "connections.max.idle.ms",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "metadata.broker.list",
    "metadata.max.age.ms",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "receive.buffer.bytes",
    "receive.message.max.bytes",
    "security.protocol",
    "security.providers",
    "send.buffer.bytes",
    "ssl_ca",
    "ssl_certificate",
    "ssl_engine_callback_data",
    "ssl_key",
];

/// Families of names about the client, and those of [`ASIDE_PREFIXES`].
pub(super) const LEFT_PREFIXES: &[&str] = &[
    "basic.auth.",
    "https.ca.",
    "metrics.",
    "reconnect.backoff.",
    "sasl.",
    "schema.registry.",
    "socket.",
    "ssl.",
    "topic.metadata.",
];
