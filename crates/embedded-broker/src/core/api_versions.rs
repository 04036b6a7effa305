//! ApiVersions: which APIs there are, in which versions, and which features are finalized.
//!
//! Imitates Kafka 4.3.1, with `group.version` 1 (KIP-848) unless it is left out, and `transaction.version` 2 (KIP-890)
//! unless it is set to another. A version it does not know is answered in
//! the shape of version 0 with the versions of ApiVersions that it does know (KIP-511). The ranges are those of this broker, not Kafka's: an
//! API that is not played here is not listed.
//!
//! Leaves out: the ZooKeeper migration flag, which is always false.

use std::ops::RangeInclusive;

use milena_protocol::{
    ErrorCode,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse,
        api_versions::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
    },
    wire::ByteString,
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
};

/// What the broker plays: APIs with their first and last version. Clients choose by it, so it follows what the handlers
/// can do and not what the protocol has.
const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 11),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 10),
    (ApiKey::OffsetFetch, 1, 10),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 5),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 5),
    (ApiKey::WriteTxnMarkers, 1, 2),
    (ApiKey::TxnOffsetCommit, 0, 5),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeProducers, 0, 0),
    (ApiKey::DescribeTransactions, 0, 0),
    (ApiKey::ListTransactions, 0, 2),
    (ApiKey::ConsumerGroupHeartbeat, 0, 1),
    (ApiKey::ConsumerGroupDescribe, 0, 1),
    (ApiKey::DescribeTopicPartitions, 0, 0),
];

/// Features with the lowest and the highest level, as Kafka 4.3.1 has them. The highest is finalized, but for
/// `transaction.version`, whose level is the cluster's.
const FEATURES: &[(&str, i16, i16)] =
    &[("group.version", 0, 1), ("metadata.version", 7, 30), (TRANSACTION_VERSION, 0, 2)];

const TRANSACTION_VERSION: &str = "transaction.version";

impl Cluster {
    pub(super) fn api_versions(&self, cx: &Context, request: &ApiVersionsRequest) -> Answer {
        let named = is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version);
        if cx.version >= 3 && !named {
            let error_code = ErrorCode::INVALID_REQUEST.0;
            return ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() }.into();
        }
        self.known_versions(ErrorCode::NONE).into()
    }

    /// The answer to a version that is not known: those of this API that are. A broker from before KIP-511 does not say.
    pub(super) fn unsupported_api_versions(&self) -> Answer {
        let mut known = self.known_versions(ErrorCode::UNSUPPORTED_VERSION);
        let tells = self.served_versions(ApiKey::ApiVersions).is_some_and(|versions| versions.contains(&3));
        known.api_keys.retain(|api| tells && api.api_key == ApiKey::ApiVersions.code());
        known.into()
    }

    /// The versions of `api` that are offered, if it is.
    pub(super) fn served_versions(&self, api: ApiKey) -> Option<RangeInclusive<i16>> {
        if matches!(api, ApiKey::ConsumerGroupHeartbeat | ApiKey::ConsumerGroupDescribe)
            && !self.config.consumer_groups
        {
            return None;
        }
        let &(_, oldest, newest) = SERVED.iter().find(|(served, ..)| *served == api)?;
        let first = self.config.min_versions.get(&api).map_or(oldest, |min| oldest.max(*min));
        let last = self.config.max_versions.get(&api).map_or(newest, |max| newest.min(*max));
        (last >= first).then_some(first..=last)
    }

    /// Finalizes another level of `transaction.version`, 0 to 2, as an operator would: clients learn of it by the features'
    /// epoch.
    pub fn set_transaction_version(&mut self, level: i16) {
        self.transaction_version = level.clamp(0, 2);
        self.features_epoch = self.features_epoch.saturating_add(1);
    }

    /// Level 0 is that of a feature that is not finalized.
    fn finalized(&self, &(name, _, highest): &(&'static str, i16, i16)) -> Option<FinalizedFeatureKey> {
        let level = if name == TRANSACTION_VERSION { self.transaction_version } else { highest };
        (level > 0).then(|| FinalizedFeatureKey {
            name: ByteString::from_static(name),
            max_version_level: level,
            min_version_level: level,
            ..FinalizedFeatureKey::default()
        })
    }

    fn known_versions(&self, error: ErrorCode) -> ApiVersionsResponse {
        let versions = SERVED.iter().filter_map(|&(api, ..)| Some((api, self.served_versions(api)?)));
        let api_keys = versions.map(|(api, versions)| ApiVersion {
            api_key: api.code(),
            min_version: *versions.start(),
            max_version: *versions.end(),
            ..ApiVersion::default()
        });
        let features =
            FEATURES.iter().filter(|(name, ..)| self.config.consumer_groups || *name != "group.version");
        ApiVersionsResponse {
            error_code: error.0,
            api_keys: api_keys.collect(),
            supported_features: features.clone().map(supported).collect(),
            finalized_features_epoch: self.features_epoch,
            finalized_features: features.filter_map(|feature| self.finalized(feature)).collect(),
            ..ApiVersionsResponse::default()
        }
    }
}

fn supported(&(name, min_version, max_version): &(&'static str, i16, i16)) -> SupportedFeatureKey {
    let name = ByteString::from_static(name);
    SupportedFeatureKey { name, min_version, max_version, ..SupportedFeatureKey::default() }
}

/// Letters and digits, and dashes and dots between them (KIP-511).
fn is_software_name(name: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.'))
}
