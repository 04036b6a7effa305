//! Topics that are deleted while they are read: the consumer waits until there is another of the name, and nothing comes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use milena::{Admin, ErrorCode};

/// How long nothing may have come before somebody is asked, and how long until the next time.
const QUIET: Duration = Duration::from_secs(3);
/// How long the answer is waited for. Nothing is read meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for topics of which nothing comes.
pub(super) struct Vanished {
    admin: Admin,
    topics: BTreeSet<String>,
    /// When something last came, or somebody was asked.
    since: Instant,
}

impl Vanished {
    pub(super) fn new(admin: Admin, topics: impl IntoIterator<Item = String>) -> Self {
        Self { admin, topics: topics.into_iter().collect(), since: Instant::now() }
    }

    /// Something has come.
    pub(super) fn heard(&mut self) {
        self.since = Instant::now();
    }

    /// The topics that are gone, each of them once, if nothing has come for a while.
    pub(super) async fn look(&mut self) -> Vec<String> {
        if self.topics.is_empty() || self.since.elapsed() < QUIET {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for topic in &self.topics {
            let asked = tokio::time::timeout(PATIENCE, self.admin.describe_topic(topic.as_str())).await;
            // Whoever does not answer, or not this, knows nothing of it.
            let code = asked.ok().and_then(Result::err).and_then(|error| error.code());
            if code == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
                gone.push(topic.clone());
            }
        }
        self.topics.retain(|topic| !gone.contains(topic));
        self.heard();
        gone
    }
}
