//! Which APIs older brokers have, and up to which version.
//!
//! The numbers are those of Kafka's releases, as each one answers ApiVersions when it is configured as it comes.
//!
//! Leaves out: versions below the first one that Kafka 4 still has, which nobody here can read; what an older broker does
//! otherwise than a new one in the same version of an API; `transaction.version` among the features that are supported.

use std::{fmt, str::FromStr};

use milena_protocol::messages::ApiKey;
use thiserror::Error;

use super::ClusterConfig;

/// A release of Kafka to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KafkaVersion {
    /// 1.0, of 2017: idempotent producers and transactions, no fetch sessions, no leader epochs.
    V1_0,
    /// 2.1, of 2018: leader epochs, zstd.
    V2_1,
    /// 2.4, of 2019: flexible versions, static members.
    V2_4,
    /// 2.8, of 2021: topic ids in Metadata.
    V2_8,
    /// 3.3, of 2022: Fetch by topic id.
    V3_3,
    /// 3.7, of 2024: new leaders in Produce and Fetch.
    V3_7,
    /// 3.9, of 2024: the last with ZooKeeper.
    V3_9,
    /// 4.0, of 2025: KIP-848 and transactions of version 2.
    V4_0,
    /// 4.1, of 2025: Produce by topic id.
    V4_1,
}

/// An API's newest version in each of the releases, from the first on; -1 where the release lacks it.
type Row = (ApiKey, [i16; 9]);

const NEWEST: &[Row] = &[
    (ApiKey::Produce, [5, 7, 8, 9, 9, 10, 11, 12, 13]),
    (ApiKey::Fetch, [6, 10, 11, 12, 13, 16, 17, 17, 18]),
    (ApiKey::ListOffsets, [2, 4, 5, 6, 7, 8, 9, 10, 10]),
    (ApiKey::Metadata, [5, 7, 9, 11, 12, 12, 12, 13, 13]),
    (ApiKey::OffsetCommit, [3, 6, 8, 8, 8, 9, 9, 9, 9]),
    (ApiKey::OffsetFetch, [3, 5, 6, 7, 8, 9, 9, 9, 9]),
    (ApiKey::FindCoordinator, [1, 2, 3, 3, 4, 4, 6, 6, 6]),
    (ApiKey::JoinGroup, [2, 3, 6, 7, 9, 9, 9, 9, 9]),
    (ApiKey::Heartbeat, [1, 2, 4, 4, 4, 4, 4, 4, 4]),
    (ApiKey::LeaveGroup, [1, 2, 4, 4, 5, 5, 5, 5, 5]),
    (ApiKey::SyncGroup, [1, 2, 4, 5, 5, 5, 5, 5, 5]),
    (ApiKey::DescribeGroups, [1, 2, 5, 5, 5, 5, 5, 6, 6]),
    (ApiKey::ListGroups, [1, 2, 3, 4, 4, 4, 5, 5, 5]),
    (ApiKey::SaslHandshake, [1, 1, 1, 1, 1, 1, 1, 1, 1]),
    (ApiKey::ApiVersions, [1, 2, 3, 3, 3, 3, 4, 4, 4]),
    (ApiKey::CreateTopics, [2, 3, 5, 7, 7, 7, 7, 7, 7]),
    (ApiKey::DeleteTopics, [1, 3, 4, 6, 6, 6, 6, 6, 6]),
    (ApiKey::DeleteRecords, [0, 1, 1, 2, 2, 2, 2, 2, 2]),
    (ApiKey::InitProducerId, [0, 1, 2, 4, 4, 4, 5, 5, 5]),
    (ApiKey::OffsetForLeaderEpoch, [0, 2, 3, 4, 4, 4, 4, 4, 4]),
    (ApiKey::AddPartitionsToTxn, [0, 1, 1, 3, 3, 4, 5, 5, 5]),
    (ApiKey::AddOffsetsToTxn, [0, 1, 1, 3, 3, 3, 4, 4, 4]),
    (ApiKey::EndTxn, [0, 1, 1, 3, 3, 3, 4, 5, 5]),
    (ApiKey::WriteTxnMarkers, [0, 0, 0, 1, 1, 1, 1, 1, 1]),
    (ApiKey::TxnOffsetCommit, [0, 2, 2, 3, 3, 3, 4, 5, 5]),
    (ApiKey::DescribeConfigs, [0, 2, 2, 4, 4, 4, 4, 4, 4]),
    (ApiKey::AlterConfigs, [0, 1, 1, 2, 2, 2, 2, 2, 2]),
    (ApiKey::SaslAuthenticate, [0, 0, 1, 2, 2, 2, 2, 2, 2]),
    (ApiKey::CreatePartitions, [0, 1, 1, 3, 3, 3, 3, 3, 3]),
    (ApiKey::DeleteGroups, [-1, 1, 2, 2, 2, 2, 2, 2, 2]),
    (ApiKey::IncrementalAlterConfigs, [-1, -1, 1, 1, 1, 1, 1, 1, 1]),
    (ApiKey::OffsetDelete, [-1, -1, 0, 0, 0, 0, 0, 0, 0]),
    (ApiKey::DescribeCluster, [-1, -1, -1, 0, 0, 1, 1, 2, 2]),
    (ApiKey::DescribeProducers, [-1, -1, -1, 0, 0, 0, 0, 0, 0]),
    (ApiKey::DescribeTransactions, [-1, -1, -1, -1, 0, 0, 0, 0, 0]),
    (ApiKey::ListTransactions, [-1, -1, -1, -1, 0, 0, 1, 1, 2]),
    // Before 4.0 they are there for those who turn them on.
    (ApiKey::ConsumerGroupHeartbeat, [-1, -1, -1, -1, -1, -1, -1, 1, 1]),
    (ApiKey::ConsumerGroupDescribe, [-1, -1, -1, -1, -1, -1, -1, 1, 1]),
    (ApiKey::DescribeTopicPartitions, [-1, -1, -1, -1, -1, -1, 0, 0, 0]),
];

impl fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_0 => "1.0",
            Self::V2_1 => "2.1",
            Self::V2_4 => "2.4",
            Self::V2_8 => "2.8",
            Self::V3_3 => "3.3",
            Self::V3_7 => "3.7",
            Self::V3_9 => "3.9",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
        })
    }
}

impl FromStr for KafkaVersion {
    type Err = UnknownVersion;

    /// Reads what is displayed.
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let known = Self::ALL.into_iter().find(|version| version.to_string() == text);
        known.ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

/// Not a release that can be imitated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0} is none of 1.0, 2.1, 2.4, 2.8, 3.3, 3.7, 3.9, 4.0 and 4.1")]
pub struct UnknownVersion(String);

impl KafkaVersion {
    /// All of them, the oldest first.
    pub const ALL: [Self; 9] = [
        Self::V1_0,
        Self::V2_1,
        Self::V2_4,
        Self::V2_8,
        Self::V3_3,
        Self::V3_7,
        Self::V3_9,
        Self::V4_0,
        Self::V4_1,
    ];
}

impl ClusterConfig {
    /// Offers what a release of Kafka offers: its APIs in its versions, KIP-848 and transactions of version 2 only from 4.0
    /// on. What is set after it holds.
    pub fn imitate(&mut self, version: KafkaVersion) {
        let column = KafkaVersion::ALL.iter().position(|known| *known == version);
        for (api, newest) in NEWEST {
            if let Some(newest) = column.and_then(|column| newest.get(column)) {
                self.max_versions.insert(*api, *newest);
            }
        }
        self.consumer_groups = version >= KafkaVersion::V4_0;
        self.transaction_version = if version >= KafkaVersion::V4_0 { 2 } else { 0 };
    }

    /// Offers an API in these versions only, of those that there are.
    pub fn limit_api(&mut self, api: ApiKey, versions: std::ops::RangeInclusive<i16>) {
        self.min_versions.insert(api, *versions.start());
        self.max_versions.insert(api, *versions.end());
    }
}
