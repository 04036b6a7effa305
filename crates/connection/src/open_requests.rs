//! The requests of a connection that are not done, and what time has to do with them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use milena_cluster::later;
use milena_protocol::ApiKey;
use tokio::time::Instant;

use crate::{
    Stage,
    reply::{Listener, Reply},
};

/// Requests that are not done.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Those that were written, or are being written, and wait for their answers.
    pub(crate) requests: VecDeque<Sent>,
    /// Those that are being written and will not be answered.
    pub(crate) leaving: Vec<Leaving>,
    /// Who sent the last one that was written and is not answered.
    pub(crate) listener: Option<Listener>,
    /// When the reader looks at the deadlines next.
    pub(crate) alarm: Option<Instant>,
    pub(crate) next_correlation_id: i32,
    /// When something was last asked by somebody, or the connection made.
    pub(crate) used: Option<Instant>,
    /// The broker does not want to hear anything until then.
    pub(crate) muted_until: Option<Instant>,
    /// Set once: why nothing more can be sent.
    pub(crate) broken: Option<Broken>,
    /// No handle is left: the connection ends with the last answer.
    pub(crate) draining: bool,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) cause: Arc<str>,
    pub(crate) stage: Stage,
    pub(crate) at: Instant,
    /// It was not wanted any more.
    pub(crate) is_planned: bool,
}

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) correlation_id: i32,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    /// When it was handed to the writer.
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
}

/// A request without an answer that is being written.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) api: ApiKey,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
}

impl Open {
    /// When the first request is overdue.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        let answers = self.requests.iter().map(|sent| sent.deadline);
        answers.chain(self.leaving.iter().map(|leaving| leaving.deadline)).min()
    }

    /// When the reader has to look at the deadlines. An alarm that is no longer needed is left as it is: those of the
    /// requests to come are behind it mostly, so that the reader need not be woken for each.
    pub(crate) fn set_alarm(&mut self, max_idle: Duration) -> Option<Instant> {
        let now = Instant::now();
        let earliest = self.earliest().or_else(|| self.idle_at(max_idle));
        self.alarm = self.alarm.filter(|alarm| *alarm > now).into_iter().chain(earliest).min();
        self.alarm
    }

    /// Until when the broker wants to hear nothing.
    pub(crate) fn muted_until(&self) -> Option<Instant> {
        self.muted_until.filter(|until| *until > Instant::now())
    }

    /// Asks nothing for so long. What is open may take so much longer, for the broker may have read none of it.
    pub(crate) fn mute(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        self.muted_until = Some(self.muted_until.map_or(until, |before| before.max(until)));
        for sent in &mut self.requests {
            sent.deadline = later(sent.deadline.into_std(), pause).into();
        }
    }

    /// When nothing has been asked for long enough to do without the connection.
    pub(crate) fn idle_at(&self, max_idle: Duration) -> Option<Instant> {
        let is_idle = self.requests.is_empty() && self.leaving.is_empty() && !self.draining;
        let since = self.used.into_iter().chain(self.muted_until).max().filter(|_| is_idle)?;
        Some(later(since.into_std(), max_idle).into())
    }
}
