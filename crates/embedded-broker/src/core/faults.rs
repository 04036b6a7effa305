//! Faults on demand: what a broker does to a request instead of answering it well.
//!
//! A rule names the requests it is for: the n-th of an API, all of a broker's, or some, as the seed has it
//! ([`Rule::one_in`]). What befalls a whole broker, a member or a transaction is a verb of [`Cluster`](super::Cluster):
//! `stop_broker`, `pause_broker`, `move_leader`, `expire_sessions`, `expire_transaction`.

use std::time::Duration;

use milena_protocol::{ErrorCode, messages::ApiKey};

use super::{BrokerId, random::Random};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The request is not carried out; the answer has this code wherever the API has room for one per topic, partition,
    /// group or member, else at its top.
    Answer(ErrorCode),
    /// The request is not carried out and never answered, and neither is what follows on the connection: the broker
    /// hangs.
    Ignore,
    /// The request is carried out but never answered, and neither is what follows on the connection.
    DropReply,
    /// The connection ends before the request is carried out.
    CloseBefore,
    /// The request is carried out, then the connection ends without the answer.
    CloseAfter,
    /// The request is carried out, then the connection ends within its answer: as many bytes of the frame go out, its
    /// length included, and always one less than there are.
    CutReply(usize),
    /// The answer leaves so much later, and so does what follows on the connection. For every Produce it is a slow disk.
    Delay(Duration),
}

/// Which requests meet a fault: the next one of an API, unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Any, if none is named.
    api: Option<ApiKey>,
    broker: Option<BrokerId>,
    one_in: u32,
    skip: u32,
    times: u32,
    action: Action,
}

impl Rule {
    /// The next request of `api` at any broker.
    #[must_use]
    pub const fn new(api: ApiKey, action: Action) -> Self {
        Self { api: Some(api), ..Self::any(action) }
    }

    /// The next request of any API at any broker.
    #[must_use]
    pub const fn any(action: Action) -> Self {
        Self { api: None, broker: None, one_in: 1, skip: 0, times: 1, action }
    }

    /// Of the requests that fit, one in so many at random meets the fault; the seed of the cluster decides which. One, and
    /// zero, is every one of them.
    #[must_use]
    pub const fn one_in(mut self, requests: u32) -> Self {
        self.one_in = requests;
        self
    }

    /// Only requests to this broker count.
    #[must_use]
    pub const fn at(mut self, broker: BrokerId) -> Self {
        self.broker = Some(broker);
        self
    }

    /// So many requests pass unharmed first.
    #[must_use]
    pub const fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// So many requests meet the fault, then the rule is used up. `u32::MAX` is for ever.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

/// The rules in force, in the order they were added. The first that fits a request decides; those behind it do not
/// count the request. One that chance has pass over a request leaves it to those behind.
#[derive(Debug)]
pub struct Faults {
    rules: Vec<Rule>,
    /// Of its own: a rule must not change what else is drawn.
    random: Random,
}

impl Faults {
    pub(super) const fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: Random::new(seed ^ 0xfa17) }
    }

    /// Puts a rule behind the others.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Drops every rule. Requests that met a fault are not brought back.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// True when every rule is used up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What happens to this request.
    pub(super) fn meet(&mut self, api: ApiKey, broker: BrokerId) -> Option<Action> {
        let Self { rules, random } = self;
        let fits = |rule: &Rule| {
            rule.api.is_none_or(|only| only == api) && rule.broker.is_none_or(|at| at == broker)
        };
        let at = rules.iter().position(|rule| fits(rule) && random.one_in(rule.one_in))?;
        let rule = rules.get_mut(at)?;
        if let Some(left) = rule.skip.checked_sub(1) {
            rule.skip = left;
            return None;
        }
        let action = rule.action;
        if rule.times != u32::MAX {
            rule.times = rule.times.saturating_sub(1);
        }
        if rule.times == 0 {
            rules.remove(at);
        }
        Some(action)
    }
}
