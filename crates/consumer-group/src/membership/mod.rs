//! Who owns which partition: membership in a group.
//!
//! Two machines behind one face. [`ClassicMember`] joins by JoinGroup and SyncGroup, [`ConsumerMember`] by
//! ConsumerGroupHeartbeat (KIP-848). Neither waits for the application: heartbeats are sent by deadlines, and an
//! application that does not poll for too long makes the member leave (G8).

mod classic;
mod consumer;
mod leaving;
mod ownership;
mod subscription;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use milena_cluster::{Deadline, Outgoing, RequestId, TopicPartition, Verdict};
use milena_protocol::wire::ByteString;

use crate::{
    ConsumerError, GroupProtocol,
    shared::{Answer, Shared},
};

use self::{classic::ClassicMember, consumer::ConsumerMember};

/// The protocol by which a member is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenProtocol {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// What a transactional producer sends along with offsets (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembership {
    /// The group.
    pub group_id: ByteString,
    /// The member; empty when partitions are assigned by hand.
    pub member_id: ByteString,
    /// The generation or member epoch; -1 when partitions are assigned by hand.
    pub generation_or_epoch: i32,
    /// The instance id of a static member.
    pub group_instance_id: Option<ByteString>,
}

/// What a member wants to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) topics: BTreeSet<ByteString>,
    /// Topics of which the whole name matches, which the coordinator finds (RE2 syntax, KIP-848).
    pub(crate) pattern: Option<ByteString>,
}

/// Who a member is to its coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) member_id: ByteString,
    /// The generation, or the member epoch.
    pub(crate) epoch: i32,
    pub(crate) by_consumer_protocol: bool,
}

/// What happened to a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The group knows the member.
    Joined,
    Assigned(Vec<TopicPartition>),
    /// The owner is to give these up.
    Revoking(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    /// The coordinator does not do this protocol.
    Unsupported(Arc<str>),
    Failed(ConsumerError),
    /// The group is left, or was never joined.
    Left,
}

/// Membership in a group, by either protocol.
#[derive(Debug)]
pub(crate) enum Membership {
    Classic(Box<ClassicMember>),
    Consumer(Box<ConsumerMember>),
}

macro_rules! either {
    ($self:ident, $member:ident => $call:expr) => {
        match $self {
            Membership::Classic($member) => $call,
            Membership::Consumer($member) => $call,
        }
    };
}

impl Membership {
    /// Not in the group yet.
    pub(crate) fn new(shared: &mut Shared) -> Self {
        match shared.config.group_protocol {
            GroupProtocol::Classic => Self::Classic(Box::new(ClassicMember::new(shared))),
            GroupProtocol::Auto | GroupProtocol::Consumer => {
                Self::Consumer(Box::new(ConsumerMember::new(shared)))
            }
        }
    }

    /// Takes the classic protocol after all.
    pub(crate) fn fall_back(&mut self, shared: &mut Shared) {
        *self = Self::Classic(Box::new(ClassicMember::new(shared)));
    }

    pub(crate) fn protocol(&self) -> ChosenProtocol {
        match self {
            Self::Classic(_) => ChosenProtocol::Classic,
            Self::Consumer(_) => ChosenProtocol::Consumer,
        }
    }

    /// Joins, or tells the group what the member reads from here on.
    pub(crate) fn subscribe(&mut self, now: Instant, shared: &mut Shared, interest: Interest) {
        either!(self, member => member.subscribe(now, shared, interest));
    }

    /// Gives everything up, then leaves. Ends with [`Change::Left`].
    pub(crate) fn leave(&mut self, now: Instant, shared: &mut Shared) {
        either!(self, member => member.leave(now, shared));
    }

    /// The owner has given up what it was told to.
    pub(crate) fn revoke_done(&mut self, now: Instant, shared: &mut Shared) {
        either!(self, member => member.revoke_done(now, shared));
    }

    /// The application has not polled for too long: everything is lost, and the member leaves until it polls again.
    pub(crate) fn application_silent(&mut self, now: Instant, shared: &mut Shared) {
        either!(self, member => member.application_silent(now, shared));
    }

    pub(crate) fn application_polled(&mut self, now: Instant) {
        either!(self, member => member.application_polled(now));
    }

    /// More may be known of topics than before.
    pub(crate) fn metadata_changed(&mut self, now: Instant, shared: &mut Shared) {
        either!(self, member => member.metadata_changed(now, shared));
    }

    /// A commit or an offset fetch, sent with `epoch`, was refused because of the member.
    pub(crate) fn member_refused(&mut self, now: Instant, shared: &mut Shared, epoch: i32, verdict: Verdict) {
        either!(self, member => member.member_refused(now, shared, epoch, verdict));
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        either!(self, member => member.handle_response(now, shared, id, answer))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        either!(self, member => member.handle_timeout(now, shared));
    }

    pub(crate) fn poll_request(&mut self, now: Instant, shared: &mut Shared) -> Option<Outgoing> {
        either!(self, member => member.poll_request(now, shared))
    }

    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        either!(self, member => member.poll_change())
    }

    /// What is due. What needs the coordinator is not due before the coordinator is known.
    pub(crate) fn poll_timeout(&self, shared: &Shared) -> Option<Deadline> {
        either!(self, member => member.poll_timeout(shared))
    }

    /// True when the coordinator is needed, at once or later.
    pub(crate) fn needs_coordinator(&self) -> bool {
        either!(self, member => member.needs_coordinator())
    }

    /// True when a silent application would hold partitions, or a seat, that others could use.
    pub(crate) fn is_member(&self) -> bool {
        either!(self, member => member.is_member())
    }

    /// Who the member is, while the group knows it.
    pub(crate) fn identity(&self) -> Option<Identity> {
        either!(self, member => member.identity())
    }

    /// Topics beside the subscription of which the member must know the partitions.
    pub(crate) fn topics_to_know(&self) -> Vec<ByteString> {
        match self {
            Self::Classic(member) => member.topics_to_know(),
            Self::Consumer(_) => Vec::new(),
        }
    }

    /// What the member is doing, in words.
    pub(crate) fn explain(&self) -> String {
        either!(self, member => member.explain())
    }
}
