//! A broker's error code for a person: what it means, and what to do about it where that is known.

use std::fmt;

use milena_protocol::{ApiKey, ErrorCode};

/// An error code that a request was answered with. Shown, it is the code's name, number and meaning, and behind it what
/// whoever reads it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advised {
    api: ApiKey,
    code: ErrorCode,
}

impl Advised {
    /// The code in an answer of `api`.
    #[must_use]
    pub const fn new(api: ApiKey, code: ErrorCode) -> Self {
        Self { api, code }
    }

    /// What to do; `None` where the code says all there is to say, or nobody but the client can do anything.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        Some(match (self.code, self.api) {
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, ApiKey::Produce | ApiKey::AddPartitionsToTxn) => {
                "the client's user needs an ACL that allows Write on the topic"
            }
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, ApiKey::Metadata) => {
                "the client's user needs an ACL that allows Describe on the topic, which Read and Write include"
            }
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, _) => {
                "the client's user needs an ACL that allows Read on the topic"
            }
            (ErrorCode::GROUP_AUTHORIZATION_FAILED, _) => {
                "the client's user needs an ACL that allows Read on the group"
            }
            (ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, _) => {
                "the client's user needs an ACL that allows Write on the transactional id"
            }
            (ErrorCode::CLUSTER_AUTHORIZATION_FAILED, ApiKey::InitProducerId | ApiKey::Produce) => {
                "an idempotent producer's user needs an ACL that allows IdempotentWrite on the cluster, or Write on any topic"
            }
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ApiKey::Metadata | ApiKey::Produce) => {
                "is the name right, and does the topic exist? The cluster has not created it by itself"
            }
            (ErrorCode::INVALID_TOPIC_EXCEPTION, _) => {
                "a topic's name is made of up to 249 letters, digits, dots, `_` and `-`"
            }
            (ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_PRODUCER_EPOCH, _) => {
                "every process needs a transactional id of its own"
            }
            (ErrorCode::INVALID_TIMESTAMP, _) => {
                "check the clocks of this machine and of the broker, or change the topic's \
                 message.timestamp.before.max.ms and message.timestamp.after.max.ms"
            }
            (ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, _) => {
                "the topic wants min.insync.replicas of them: are brokers down?"
            }
            (ErrorCode::COORDINATOR_NOT_AVAILABLE, _) => {
                "if it stays so, the brokers can't create or lead their internal topic (__consumer_offsets or \
                 __transaction_state): are there as many as its replication factor?"
            }
            (ErrorCode::INVALID_TRANSACTION_TIMEOUT, _) => {
                "shorten the producer's transaction timeout, or raise the brokers' transaction.max.timeout.ms"
            }
            (ErrorCode::INVALID_SESSION_TIMEOUT, _) => {
                "keep between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms"
            }
            (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, _) => {
                "the group's other members use other assignors, or another kind of protocol: give all of them one assignor in common"
            }
            (ErrorCode::UNSUPPORTED_ASSIGNOR, _) => {
                "take one of the brokers' group.consumer.assignors: uniform and range unless they say otherwise"
            }
            (ErrorCode::GROUP_MAX_SIZE_REACHED, _) => {
                "take fewer consumers, or raise the brokers' group.max.size or group.consumer.max.size"
            }
            (ErrorCode::FENCED_INSTANCE_ID | ErrorCode::UNRELEASED_INSTANCE_ID, _) => {
                "give every process a group instance id of its own"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_that_is_missing_depends_on_what_was_asked() {
        let write = Advised::new(ApiKey::Produce, ErrorCode::TOPIC_AUTHORIZATION_FAILED).to_string();
        assert!(write.starts_with("TOPIC_AUTHORIZATION_FAILED (29): ") && write.contains("Write"), "{write}");
        let read = Advised::new(ApiKey::Fetch, ErrorCode::TOPIC_AUTHORIZATION_FAILED).to_string();
        assert!(read.contains("Read") && !read.contains("Write"), "{read}");
        let plain = Advised::new(ApiKey::Fetch, ErrorCode::CORRUPT_MESSAGE).to_string();
        assert_eq!(plain, ErrorCode::CORRUPT_MESSAGE.to_string());
    }
}
