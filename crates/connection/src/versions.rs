//! Which version of each request a broker and this crate both speak.

use std::collections::BTreeMap;

use milena_protocol::{ApiKey, messages::ApiVersionsResponse};

/// What one broker speaks, as it told on connecting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions(BTreeMap<ApiKey, (i16, i16)>);

impl Versions {
    /// The ranges of an answer; APIs this crate does not know are left out.
    pub(crate) fn new(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().filter_map(|range| {
            Some((ApiKey::from_code(range.api_key)?, (range.min_version, range.max_version)))
        });
        Self(ranges.collect())
    }

    /// The newest version of `api` that both sides speak and that is not above `max`.
    pub(crate) fn pick(&self, api: ApiKey, max: i16) -> Option<i16> {
        let (theirs_first, theirs_last) = *self.0.get(&api)?;
        let ours = api.stable_versions();
        let version = theirs_last.min(*ours.end()).min(max);
        (version >= theirs_first.max(*ours.start())).then_some(version)
    }

    /// The version that is used of each API.
    pub(crate) fn chosen(&self) -> BTreeMap<&'static str, i16> {
        let chosen = self.0.keys().filter_map(|api| Some((api.name(), self.pick(*api, i16::MAX)?)));
        chosen.collect()
    }

    /// What the broker said of `api`, for a message to a person.
    pub(crate) fn describe(&self, api: ApiKey) -> String {
        match self.0.get(&api) {
            Some((first, last)) => format!("versions {first} to {last}"),
            // Nothing else answers ApiVersions without it.
            None if api == ApiKey::Metadata => "no version (is this the port of a controller?)".to_owned(),
            None => "no version".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::api_versions::ApiVersion;

    use super::*;

    #[test]
    fn the_newest_common_version_wins() {
        let range = |api: i16, min_version, max_version| ApiVersion {
            api_key: api,
            min_version,
            max_version,
            ..Default::default()
        };
        let response = ApiVersionsResponse {
            api_keys: vec![
                range(ApiKey::Fetch.code(), 0, 11),
                range(ApiKey::Produce.code(), 20, 30),
                range(9999, 0, 1),
            ],
            ..Default::default()
        };
        let versions = Versions::new(&response);
        assert_eq!(versions.pick(ApiKey::Fetch, i16::MAX), Some(11));
        assert_eq!(versions.pick(ApiKey::Fetch, 7), Some(7));
        assert_eq!(versions.pick(ApiKey::Fetch, 3), None);
        assert_eq!(versions.pick(ApiKey::Produce, i16::MAX), None);
        assert_eq!(versions.pick(ApiKey::Metadata, i16::MAX), None);
        assert_eq!(versions.describe(ApiKey::Produce), "versions 20 to 30");
    }
}
