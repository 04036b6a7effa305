//! Whether a member of a classic group waits for its group: meanwhile it can't know what the group does.

use std::collections::BTreeSet;

use milena_cluster::{Failure, Outgoing, RequestId};
use milena_consumer_group::ConsumerConfig;
use milena_protocol::{ApiKey, messages::Response};

use super::{
    ledger::{Ledger, Who},
    timeline::Timeline,
};

/// The JoinGroup requests of one process that are not answered.
#[derive(Debug)]
pub(super) struct Joining {
    who: Who,
    open: BTreeSet<RequestId>,
    /// In µs.
    session_timeout: u64,
}

impl Joining {
    pub(super) fn new(who: Who, config: &ConsumerConfig) -> Self {
        let session_timeout = u64::try_from(config.session_timeout.as_micros()).unwrap_or(u64::MAX);
        Self { who, open: BTreeSet::new(), session_timeout }
    }

    pub(super) fn sends(&mut self, ledger: &mut Ledger, outgoing: &Outgoing) {
        if outgoing.api() == ApiKey::JoinGroup {
            self.open.insert(outgoing.id);
            ledger.waits_for_group(self.who, u64::MAX);
        }
    }

    /// After the answer the assignment is waited for, and for no longer than a session lasts.
    pub(super) fn hears(
        &mut self,
        timeline: &Timeline,
        ledger: &mut Ledger,
        id: RequestId,
        result: &Result<Response, Failure>,
    ) {
        if matches!(result, Ok(Response::SyncGroup(_))) {
            ledger.waits_for_group(self.who, 0);
        } else if self.open.remove(&id) {
            ledger.waits_for_group(self.who, timeline.micros() + self.session_timeout);
        }
    }
}
