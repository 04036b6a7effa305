//! Why a consumer is not doing what one expects of it, in words.

use std::time::Instant;

use milena_cluster::Machine;

use super::{Consumer, Lifecycle, Source};
use crate::fetcher::Obstacle;

impl Consumer {
    /// A line for the consumer, one for each partition, and one for the next deadline.
    #[must_use]
    pub fn explain(&self, now: Instant) -> Vec<String> {
        let mut lines = vec![self.explain_consumer()];
        for (partition, cursor) in self.cursors.iter() {
            let at = match cursor.position() {
                Some(position) if position.offset >= 0 => {
                    format!("{partition} at offset {}", position.offset)
                }
                _ => format!("{partition} at no offset yet"),
            };
            let doing = match self.fetcher.obstacle(now, &self.shared, partition, cursor) {
                Ok(bytes) => format!("is fetched when its broker is next asked ({bytes} bytes are here)"),
                Err(obstacle) => explain_obstacle(obstacle),
            };
            lines.push(format!("{at}: {doing}"));
        }
        if let Some(failure) = self.shared.metadata.last_failure() {
            lines.push(format!("the last request for metadata had no answer: {failure}"));
        }
        lines.push(match self.poll_timeout() {
            Some(due) => {
                let wait = due.at.saturating_duration_since(now);
                format!("next in {} ms: {}", wait.as_millis(), due.why)
            }
            None => "nothing is due: an answer or a call is waited for".to_owned(),
        });
        lines
    }

    fn explain_consumer(&self) -> String {
        match (self.lifecycle, &self.source) {
            (Lifecycle::Stopped, _) => "stopped".to_owned(),
            (Lifecycle::Closing, _) => format!("closing; {}", self.membership.explain()),
            (_, Source::Nowhere) => "neither subscribed nor assigned".to_owned(),
            (_, Source::ByHand) => "assigned by hand".to_owned(),
            (_, Source::Group(_) | Source::LeftGroup) => {
                let coordinator = match self.shared.coordinator() {
                    Some(broker) => format!("coordinator {broker}"),
                    None => "no coordinator is known".to_owned(),
                };
                format!("group {}: {}; {coordinator}", self.shared.group(), self.membership.explain())
            }
        }
    }
}

fn explain_obstacle(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Revoking => "is to be given up: waits for revoke_done".to_owned(),
        Obstacle::AwaitingCommitted => "waits for the committed offset".to_owned(),
        Obstacle::AwaitingOffset => "waits for the leader to tell an offset".to_owned(),
        Obstacle::Unchecked => "waits for a new leader to tell whether the position is in its log".to_owned(),
        Obstacle::Halted(why) => format!("stands still until a seek: {why}"),
        Obstacle::Paused => "is paused".to_owned(),
        Obstacle::Waiting => "waits before it is tried again".to_owned(),
        Obstacle::NoLeader => "has no known leader: waits for metadata".to_owned(),
        Obstacle::BrokerWaiting(broker) => format!("waits before {broker} is tried again"),
        Obstacle::InFlight(broker) => format!("waits for the answer of {broker}"),
        Obstacle::Full => "has as much here as it may: waits for the application".to_owned(),
    }
}
