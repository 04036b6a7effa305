//! Which leaders may have refused what they do not answer (acks 0).
//!
//! A broker refuses such a request by hanging up, most often because it leads the partition no more. What is sent to it
//! before its place is looked up again would be lost as well, and a broker that refuses for another reason would be
//! connected to without a pause. So it is sent nothing until metadata has come, the waits for which grow.

use std::collections::{BTreeMap, BTreeSet};

use milena_cluster::{BrokerId, RequestId};

#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    /// The last request that was written to each leader.
    written: BTreeMap<BrokerId, RequestId>,
    /// Those that have hung up behind it.
    suspects: BTreeSet<BrokerId>,
}

impl Unanswered {
    /// A request has been written that its leader will not answer.
    pub(crate) fn written(&mut self, leader: BrokerId, id: RequestId) {
        self.written.insert(leader, id);
    }

    /// The connection has ended over which the request was written as the last one.
    pub(crate) fn hung_up(&mut self, id: RequestId) {
        let leaders = self.written.iter().filter(|(_, last)| **last == id);
        self.suspects.extend(leaders.map(|(leader, _)| *leader));
    }

    /// Metadata has come.
    pub(crate) fn looked_up(&mut self) {
        self.suspects.clear();
    }

    /// True while nothing is to be sent to the leader.
    pub(crate) fn is_suspect(&self, leader: BrokerId) -> bool {
        self.suspects.contains(&leader)
    }
}
