//! What the answers of coordinators lead to.

use std::{sync::Arc, time::Instant};

use milena_cluster::{
    Advised, BrokerId, CoordinatorAnswer, Failure, FailureKind, TopicPartition, Verdict, verdict,
};
use milena_protocol::{ApiKey, ErrorCode, messages::Response, wire::ByteString};

use crate::{
    transaction::Transaction,
    transaction_error::{FatalCause, TransactionError, TransactionFailure},
    transaction_event::TransactionEvent,
    transaction_requests::{self as requests, Version},
    transactional::Transactional,
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Features,
    Initialize,
    AddPartitions,
    AddOffsets,
    CommitOffsets,
    Commit,
    Abort,
}

/// A code other than none, and of what.
struct Bad {
    code: ErrorCode,
    verdict: Verdict,
    partition: Option<TopicPartition>,
}

impl Ask {
    const fn api(self) -> ApiKey {
        match self {
            Self::Features => ApiKey::ApiVersions,
            Self::Initialize => ApiKey::InitProducerId,
            Self::AddPartitions => ApiKey::AddPartitionsToTxn,
            Self::AddOffsets => ApiKey::AddOffsetsToTxn,
            Self::CommitOffsets => ApiKey::TxnOffsetCommit,
            Self::Commit | Self::Abort => ApiKey::EndTxn,
        }
    }
}

impl Transactional {
    pub(super) fn handle_coordinator(&mut self, found: CoordinatorAnswer, is_group: bool) {
        let api = ApiKey::FindCoordinator;
        match found {
            CoordinatorAnswer::NotOurs | CoordinatorAnswer::Found(_) => {}
            CoordinatorAnswer::Waiting => {
                let group = self.group.as_ref().filter(|_| is_group).map(|(_, group)| group);
                self.last_failure = group.unwrap_or(&self.coordinator).last_failure().cloned();
            }
            CoordinatorAnswer::Refused(code) if is_group => {
                let subject = self.scope.offsets.front().map(|next| next.group.group_id.clone());
                self.fail(TransactionFailure::Refused { api, subject, code });
            }
            CoordinatorAnswer::Refused(code) => self.fatal(FatalCause::Refused { api, code }),
        }
    }

    pub(super) fn handle_failure(
        &mut self,
        now: Instant,
        what: Ask,
        broker: BrokerId,
        failure: &Failure,
        random: &mut fastrand::Rng,
    ) {
        let cause = &failure.cause;
        self.last_failure = Some(Arc::clone(cause));
        match (failure.kind, what) {
            (FailureKind::Unsupported, Ask::AddPartitions | Ask::AddOffsets | Ask::CommitOffsets) => {
                return self.fail(TransactionFailure::Unsupported(Arc::clone(cause)));
            }
            (FailureKind::Unsupported, _) => return self.fatal(FatalCause::Unsupported(Arc::clone(cause))),
            (FailureKind::Unanswered, _) => self.doubt(what),
            (FailureKind::NotSent, _) => {}
        }
        self.lose(what, broker);
        self.wait(now, false, random);
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        what: Ask,
        broker: BrokerId,
        response: &Response,
        random: &mut fastrand::Rng,
    ) {
        let api = what.api();
        let codes = requests::codes(response).unwrap_or_default();
        let bad = worst(api, &codes);
        let lacks_id = what == Ask::Initialize && bad.is_none() && requests::granted(response).is_none();
        if codes.is_empty() || lacks_id {
            let stray = Failure::new(FailureKind::Unanswered, format!("{api}: the answer says nothing"));
            return self.handle_failure(now, what, broker, &stray, random);
        }
        if what == Ask::CommitOffsets {
            self.take_offsets(&codes);
        }
        let Some(bad) = bad else {
            self.hurry();
            self.last_failure = None;
            return self.done(now, what, response);
        };
        self.last_failure = Some(format!("{api}: {}", Advised::new(api, bad.code)).into());
        match bad.verdict {
            Verdict::FindCoordinator => {
                self.doubt(what);
                self.lose(what, broker);
                self.wait(now, false, random);
            }
            Verdict::Retry | Verdict::RefreshMetadata => {
                if !is_definite(bad.code) {
                    self.doubt(what);
                }
                self.wait(now, bad.code == ErrorCode::CONCURRENT_TRANSACTIONS, random);
            }
            Verdict::Fenced | Verdict::ProducerStateLost | Verdict::TransactionOver
                if !self.second_opinion =>
            {
                self.second_opinion = true;
                self.lose(what, broker);
            }
            _ => self.refused(now, what, bad),
        }
    }

    /// The coordinator may have ended the transaction.
    pub(super) fn doubt(&mut self, what: Ask) {
        if matches!(what, Ask::Commit | Ask::Abort) {
            self.state.doubt();
            // In version 2 the next transaction has another epoch anyway.
            self.renew |= self.version == Version::V1;
        }
    }

    fn lose(&mut self, what: Ask, broker: BrokerId) {
        if let Some(tracker) = self.tracker_mut(what) {
            tracker.lost(broker);
        }
    }

    fn done(&mut self, now: Instant, what: Ask, response: &Response) {
        match what {
            Ask::Features => {
                if let Response::ApiVersions(response) = response {
                    self.version = Version::finalized(response);
                    self.version_told = Some(now);
                }
            }
            Ask::Initialize => self.initialized(response),
            Ask::AddPartitions => {
                let Response::AddPartitionsToTxn(response) = response else { return };
                for topic in &response.results_by_topic_v3_and_below {
                    for result in &topic.results_by_partition {
                        let partition = TopicPartition::new(topic.name.clone(), result.partition_index);
                        if self.scope.wanted.remove(&partition) {
                            self.scope.added.insert(partition);
                        }
                    }
                }
            }
            Ask::AddOffsets => {
                let group = self.scope.offsets.front().map(|next| next.group.group_id.clone());
                self.scope.groups.extend(group);
            }
            // Taken partition by partition.
            Ask::CommitOffsets => {}
            Ask::Commit | Ask::Abort => self.ended(now, what, response),
        }
    }

    fn initialized(&mut self, response: &Response) {
        let (Transaction::Initializing(_), Some(producer)) = (&self.state, requests::granted(response))
        else {
            return;
        };
        self.adopt(producer);
        self.renew = false;
        self.state = Transaction::Ready;
        self.events.push_back(TransactionEvent::Ready);
    }

    fn ended(&mut self, now: Instant, what: Ask, response: &Response) {
        let is_awaited = match self.state {
            Transaction::Committing(_) => what == Ask::Commit,
            Transaction::Aborting(_) => what == Ask::Abort,
            // It was given up before the answer came; what comes next asks again.
            _ => false,
        };
        if !is_awaited {
            return;
        }
        match requests::granted(response) {
            Some(producer) => {
                self.adopt(producer);
                self.renew = false;
            }
            // Without an epoch of its own the next transaction would be taken for this one.
            None => self.renew |= self.version == Version::V2,
        }
        self.conclude(now, Ok(()));
    }

    /// Takes out the offsets that the group has taken.
    fn take_offsets(&mut self, codes: &[(Option<TopicPartition>, ErrorCode)]) {
        let Some(next) = self.scope.offsets.front_mut() else { return };
        let taken = codes.iter().filter(|(_, code)| *code == ErrorCode::NONE);
        for partition in taken.filter_map(|(partition, _)| partition.as_ref()) {
            next.offsets.remove(partition);
        }
        if next.offsets.is_empty() {
            self.events.push_back(TransactionEvent::OffsetsSent(next.id, Ok(())));
            self.scope.offsets.pop_front();
        }
    }

    /// Asking again would not help.
    fn refused(&mut self, now: Instant, what: Ask, bad: Bad) {
        let Bad { code, verdict, partition } = bad;
        let api = what.api();
        match (what, verdict) {
            (Ask::Commit, Verdict::TransactionOver) => {
                // Whoever has the epoch before the current one is told of a commit if there was one.
                self.renew = true;
                self.conclude(now, Err(TransactionError::AbortedByCoordinator));
            }
            (Ask::Abort, Verdict::TransactionOver) => {
                self.renew = true;
                self.conclude(now, Ok(()));
            }
            (_, Verdict::Fenced) => self.fatal(FatalCause::Fenced { api, code }),
            (_, Verdict::ProducerStateLost) => self.fatal(FatalCause::Refused { api, code }),
            (Ask::Commit, Verdict::AbortTransaction) => self.must_abort(api, code),
            // An abort that is answered so would be for ever.
            (Ask::Initialize | Ask::Commit | Ask::Abort, _) => self.fatal(FatalCause::Refused { api, code }),
            (Ask::Features, _) => {
                self.version = Version::V1;
                self.version_told = Some(now);
            }
            _ if code == ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => {
                self.fatal(FatalCause::Refused { api, code });
            }
            (Ask::AddPartitions | Ask::AddOffsets | Ask::CommitOffsets, _) => {
                let group = || self.scope.offsets.front().map(|next| next.group.group_id.clone());
                let subject =
                    partition.map(|partition| ByteString::from(partition.to_string())).or_else(group);
                self.fail(TransactionFailure::Refused { api, subject, code });
            }
        }
    }

    /// The commit is refused, and an abort asked for: after a try without an answer nobody can say what was committed.
    fn must_abort(&mut self, api: ApiKey, code: ErrorCode) {
        let failure = TransactionFailure::Refused { api, subject: None, code };
        if self.state.is_uncertain() {
            let error = self.state.unknown(failure.to_string().into());
            self.events.push_back(TransactionEvent::Ended(Err(error)));
        } else {
            self.fail(failure);
        }
    }
}

/// The code that counts most. A partition that was not looked at because of another one says nothing.
fn worst(api: ApiKey, codes: &[(Option<TopicPartition>, ErrorCode)]) -> Option<Bad> {
    let bad = codes.iter().filter(|(_, code)| *code != ErrorCode::NONE).map(|(partition, code)| Bad {
        code: *code,
        verdict: verdict(api, *code),
        partition: partition.clone(),
    });
    bad.max_by_key(|bad| match bad.verdict {
        _ if bad.code == ErrorCode::OPERATION_NOT_ATTEMPTED => 0,
        Verdict::Retry | Verdict::RefreshMetadata => 1,
        Verdict::FindCoordinator => 2,
        Verdict::Fenced | Verdict::ProducerStateLost | Verdict::TransactionOver => 4,
        _ => 3,
    })
}

/// Whether a coordinator that answers this code has certainly not done what it was asked. Others come as well after it
/// has begun to.
fn is_definite(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CONCURRENT_TRANSACTIONS
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::THROTTLING_QUOTA_EXCEEDED
    )
}
