//! Even, moving as little as possible, in two rounds (KIP-429).
//!
//! A partition that is to move is given to nobody in the round in which its owner learns that it loses it; the owner
//! gives it up and joins again, and the next round gives it to whom it is meant for. So no partition has two owners.
//!
//! What members say they own is believed only as far as it can be true: the claim of the latest generation wins
//! (KIP-792), and two claims of one generation are both void.

use std::collections::BTreeMap;

use milena_cluster::TopicPartition;
use milena_protocol::wire::ByteString;

use super::{Assignments, GroupMembers, PartitionCounts, count, nothing, topics};

pub(super) fn assign(members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
    in_two_rounds(settle(members, partitions), members, partitions)
}

/// Even, keeping of what members own as much as that allows.
pub(super) fn settle(members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
    let claims = claims(members, partitions);
    let mut sharing = Sharing::new(members);
    for (partition, owner) in &claims {
        sharing.give(partition.clone(), owner);
    }
    for topic in topics(members) {
        for index in 0..count(partitions, topic) {
            let partition = TopicPartition::new(topic.clone(), index);
            if !claims.contains_key(&partition)
                && let Some((reader, _)) = sharing.least_loaded(topic)
            {
                sharing.give(partition, reader);
            }
        }
    }
    sharing.level();
    let mut assignments = nothing(members);
    for (partition, owner) in sharing.owners {
        if let Some(assigned) = assignments.get_mut(owner) {
            assigned.insert(partition);
        }
    }
    assignments
}

/// Takes out what another member owns yet: it has to let go first.
pub(super) fn in_two_rounds(
    mut assignments: Assignments,
    members: &GroupMembers,
    partitions: &PartitionCounts,
) -> Assignments {
    let claims = claims(members, partitions);
    for (member, assigned) in &mut assignments {
        assigned.retain(|partition| claims.get(partition).is_none_or(|owner| *owner == member));
    }
    assignments
}

/// Who owns what, as far as it can be true: the partition exists, the member still reads it, and nobody says otherwise
/// in the same generation or a later one.
fn claims<'a>(
    members: &'a GroupMembers,
    partitions: &PartitionCounts,
) -> BTreeMap<TopicPartition, &'a ByteString> {
    // By partition: the latest generation in which it is claimed, and by whom, if only one does.
    let mut latest: BTreeMap<&TopicPartition, (i32, Option<&ByteString>)> = BTreeMap::new();
    for (member, subscription) in members {
        for partition in &subscription.owned {
            let claim = (subscription.generation, Some(member));
            let known = latest.entry(partition).or_insert(claim);
            if known.0 < claim.0 {
                *known = claim;
            } else if known.0 == claim.0 && known.1 != claim.1 {
                known.1 = None;
            }
        }
    }
    let can_be_kept = |partition: &TopicPartition, member: &ByteString| {
        let exists = (0..count(partitions, &partition.topic)).contains(&partition.partition);
        exists && members.get(member).is_some_and(|said| said.topics.contains(&partition.topic))
    };
    let single = latest.into_iter().filter_map(|(partition, (_, member))| Some((partition, member?)));
    let kept = single.filter(|(partition, member)| can_be_kept(partition, member));
    kept.map(|(partition, member)| (partition.clone(), member)).collect()
}

/// An assignment in the making.
struct Sharing<'a> {
    members: &'a GroupMembers,
    owners: BTreeMap<TopicPartition, &'a ByteString>,
    load: BTreeMap<&'a ByteString, usize>,
}

impl<'a> Sharing<'a> {
    fn new(members: &'a GroupMembers) -> Self {
        let load = members.keys().map(|member| (member, 0)).collect();
        Self { members, owners: BTreeMap::new(), load }
    }

    fn load(&self, member: &ByteString) -> usize {
        self.load.get(member).copied().unwrap_or(0)
    }

    fn give(&mut self, partition: TopicPartition, to: &'a ByteString) {
        if let Some(from) = self.owners.insert(partition, to)
            && let Some(load) = self.load.get_mut(from)
        {
            *load = load.saturating_sub(1);
        }
        let load = self.load.entry(to).or_default();
        *load = load.saturating_add(1);
    }

    fn least_loaded(&self, topic: &ByteString) -> Option<(&'a ByteString, usize)> {
        let readers = self.members.iter().filter(|(_, subscription)| subscription.topics.contains(topic));
        readers.map(|(member, _)| (member, self.load(member))).min_by_key(|(member, load)| (*load, *member))
    }

    /// Moves partitions from members with more to members with less, as long as that makes it more even. Each move
    /// lessens the sum of the squares of the loads, so there is an end.
    fn level(&mut self) {
        loop {
            let mut moved = false;
            let partitions: Vec<_> = self.owners.keys().cloned().collect();
            for partition in partitions {
                let Some(owner) = self.owners.get(&partition).copied() else { continue };
                let Some((reader, load)) = self.least_loaded(&partition.topic) else { continue };
                if self.load(owner) > load.saturating_add(1) {
                    self.give(partition, reader);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }
}
