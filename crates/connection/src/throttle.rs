//! For how long an answer asks the client to be quiet.
//!
//! A broker that a client has asked more of than its quota allows answers at once, says for how long the client is to be
//! quiet, and reads nothing from the connection meanwhile. What is sent all the same would only grow old in its buffers.
//! Brokers of before that held the answer back instead: from those versions on the time in an answer has passed already.
//!
//! # References
//! KIP-219 (the answer comes first, the wait behind it, with the version from which that is so for each API).

use std::time::Duration;

use milena_protocol::messages::Response;

/// No quota makes a client wait for so long: Kafka's own wait is bounded by its window of some seconds. A number from the
/// network does not keep a connection quiet for weeks.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// How long nothing more is to be sent on the connection that the answer came over.
pub(crate) fn throttle(response: &Response, version: i16) -> Duration {
    macro_rules! asked {
        ($($api:ident from $first:literal),* $(,)?) => {
            match response {
                $(Response::$api(body) if version >= $first => body.throttle_time_ms,)*
                _ => 0,
            }
        };
    }
    let ms = asked!(
        Produce from 6,
        Fetch from 8,
        ListOffsets from 3,
        Metadata from 6,
        OffsetCommit from 4,
        OffsetFetch from 4,
        FindCoordinator from 2,
        JoinGroup from 3,
        Heartbeat from 2,
        LeaveGroup from 2,
        SyncGroup from 2,
        DescribeGroups from 2,
        ListGroups from 2,
        ApiVersions from 2,
        CreateTopics from 3,
        DeleteTopics from 2,
        DeleteRecords from 1,
        InitProducerId from 1,
        OffsetForLeaderEpoch from 2,
        AddPartitionsToTxn from 1,
        AddOffsetsToTxn from 1,
        EndTxn from 1,
        TxnOffsetCommit from 1,
        DescribeConfigs from 2,
        AlterConfigs from 1,
        CreatePartitions from 1,
        DeleteGroups from 1,
        IncrementalAlterConfigs from 0,
        OffsetDelete from 0,
        DescribeCluster from 0,
        DescribeProducers from 0,
        DescribeTransactions from 0,
        ListTransactions from 0,
        ConsumerGroupHeartbeat from 0,
        ConsumerGroupDescribe from 0,
        DescribeTopicPartitions from 0,
    );
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::{FetchResponse, SaslHandshakeResponse};

    use super::*;

    fn fetch(throttle_time_ms: i32) -> Response {
        FetchResponse { throttle_time_ms, ..Default::default() }.into()
    }

    #[test]
    fn the_wait_is_behind_the_answer_since_kip_219_and_before_it_until_then() {
        assert_eq!(throttle(&fetch(250), 8), Duration::from_millis(250));
        assert_eq!(throttle(&fetch(250), 7), Duration::ZERO);
    }

    #[test]
    fn numbers_that_mean_nothing_do_not_count() {
        assert_eq!(throttle(&fetch(-5), 12), Duration::ZERO);
        assert_eq!(throttle(&fetch(i32::MAX), 12), LONGEST);
        assert_eq!(throttle(&SaslHandshakeResponse::default().into(), 1), Duration::ZERO);
    }
}
