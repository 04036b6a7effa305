//! Who must have a batch before the producer counts it as sent.

use std::fmt;

/// Who must have a batch before it is acknowledged (`acks`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Every replica in sync: what is acknowledged survives as long as one of them does. It costs the time of replication.
    #[default]
    All,
    /// The leader alone. What is acknowledged is lost when the leader dies before a follower has fetched it.
    Leader,
    /// Nobody: a batch counts as sent when it has been written to the connection. Brokers answer nothing then, so that
    /// what they refuse is lost without a word, no offset is known, and a batch that is too large is not split. A record is
    /// told of as not sent only when the connection broke before that, or the producer never got so far.
    None,
}

impl Acks {
    /// As it stands in a Produce request.
    pub(crate) const fn to_wire(self) -> i16 {
        match self {
            Self::All => -1,
            Self::Leader => 1,
            Self::None => 0,
        }
    }

    /// What a request that is on its way lacks.
    pub(crate) const fn missing(self) -> &'static str {
        match self {
            Self::All | Self::Leader => "the leader has not answered",
            Self::None => "the request has not been written to its connection",
        }
    }

    /// True when brokers answer.
    pub(crate) const fn are_sent(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// As Kafka's settings have it: `all`, `1` or `0`.
impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Leader => "1",
            Self::None => "0",
        })
    }
}
