//! The server-side assignors of KIP-848: which member should have which partitions.
//!
//! Imitates `uniform` and `range` of Kafka 4.3.1 in what they promise, not in every choice: `uniform` spreads partitions
//! evenly and leaves them where they are if it can; `range` gives each member of a topic one run of partitions.
//!
//! Leaves out: racks; the finer balancing of members with different subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use milena_protocol::wire::{ByteString, Uuid};

/// Partitions, by topic id and number.
pub(super) type Assignment = BTreeSet<(Uuid, i32)>;

/// What an assignor needs to know of a member.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) member_id: &'a ByteString,
    /// The topics it subscribes to, with their numbers of partitions.
    pub(super) topics: BTreeMap<Uuid, i32>,
    /// What it should have had so far.
    pub(super) current: Assignment,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Assignor {
    #[default]
    Uniform,
    Range,
}

impl Assignor {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// What every member should have. Each partition of a topic that somebody subscribes to goes to exactly one.
    pub(super) fn assign(self, members: &[Candidate<'_>]) -> BTreeMap<ByteString, Assignment> {
        let assignments = match self {
            Self::Uniform => uniform(members),
            Self::Range => range(members),
        };
        members.iter().map(|member| member.member_id.clone()).zip(assignments).collect()
    }
}

fn uniform(members: &[Candidate<'_>]) -> Vec<Assignment> {
    let all: Assignment = members.iter().flat_map(|member| partitions(&member.topics)).collect();
    let least = all.len() / members.len().max(1);
    // So many members have one more than the least.
    let mut larger = all.len() % members.len().max(1);
    let mut left = all;
    let mut assignments: Vec<Assignment> = Vec::with_capacity(members.len());
    for member in members {
        let mut kept = Assignment::new();
        for partition in &member.current {
            let quota = least + usize::from(larger > 0);
            if kept.len() < quota && member.topics.contains_key(&partition.0) && left.remove(partition) {
                kept.insert(*partition);
            }
        }
        larger -= usize::from(kept.len() > least);
        assignments.push(kept);
    }
    for partition in left {
        let subscribed = members
            .iter()
            .zip(&mut assignments)
            .filter(|(member, _)| member.topics.contains_key(&partition.0));
        if let Some((_, fewest)) = subscribed.min_by_key(|(_, assignment)| assignment.len()) {
            fewest.insert(partition);
        }
    }
    assignments
}

fn range(members: &[Candidate<'_>]) -> Vec<Assignment> {
    let topics: BTreeMap<Uuid, i32> =
        members.iter().flat_map(|member| &member.topics).map(|(id, count)| (*id, *count)).collect();
    let mut assignments = vec![Assignment::new(); members.len()];
    for (topic, count) in topics {
        let subscribers = members.iter().filter(|member| member.topics.contains_key(&topic)).count();
        let subscribers = i32::try_from(subscribers).unwrap_or(i32::MAX).max(1);
        let mut next = 0;
        let mut rank = 0;
        for (member, assignment) in members.iter().zip(&mut assignments) {
            if member.topics.contains_key(&topic) {
                let share = count / subscribers + i32::from(rank < count % subscribers);
                assignment.extend((next..next + share).map(|partition| (topic, partition)));
                next += share;
                rank += 1;
            }
        }
    }
    assignments
}

fn partitions(topics: &BTreeMap<Uuid, i32>) -> impl Iterator<Item = (Uuid, i32)> {
    topics.iter().flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, partition)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u8) -> Uuid {
        Uuid::from_bytes([number; 16])
    }

    /// Assigns topics (number, partitions) to members (subscribed topics), from nothing and then once more.
    fn assigned(assignor: Assignor, members: &[&[(u8, i32)]]) -> Vec<usize> {
        let names: Vec<ByteString> = (0..members.len()).map(|at| format!("m{at}").into()).collect();
        let candidates = |current: &BTreeMap<ByteString, Assignment>| -> Vec<Candidate<'_>> {
            names
                .iter()
                .zip(members)
                .map(|(member_id, topics)| Candidate {
                    member_id,
                    topics: topics.iter().map(|(number, count)| (topic(*number), *count)).collect(),
                    current: current.get(member_id).cloned().unwrap_or_default(),
                })
                .collect()
        };
        let first = assignor.assign(&candidates(&BTreeMap::new()));
        let again = assignor.assign(&candidates(&first));
        assert_eq!(first, again, "nothing moves without a reason");
        let mut seen = Assignment::new();
        for (member, topics) in first.values().zip(members) {
            for partition in member {
                assert!(topics.iter().any(|(number, _)| topic(*number) == partition.0), "not subscribed");
                assert!(seen.insert(*partition), "{partition:?} is assigned twice");
            }
        }
        let all: Assignment = members
            .iter()
            .flat_map(|topics| *topics)
            .flat_map(|(number, count)| (0..*count).map(|p| (topic(*number), p)))
            .collect();
        assert_eq!(seen, all);
        first.values().map(BTreeSet::len).collect()
    }

    #[test]
    fn every_partition_has_one_owner() {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            assert_eq!(assigned(assignor, &[&[(1, 6)]]), [6]);
            assert_eq!(assigned(assignor, &[&[(1, 7)], &[(1, 7)], &[(1, 7)]]), [3, 2, 2]);
            assert_eq!(assigned(assignor, &[&[(1, 1)], &[(1, 1)]]), [1, 0]);
            assert_eq!(assigned(assignor, &[&[(1, 2), (2, 2)], &[(2, 2)]]).iter().sum::<usize>(), 4);
        }
        assert_eq!(assigned(Assignor::Range, &[&[(1, 3), (2, 3)], &[(1, 3), (2, 3)]]), [4, 2]);
        assert_eq!(assigned(Assignor::Uniform, &[&[(1, 3), (2, 3)], &[(1, 3), (2, 3)]]), [3, 3]);
    }

    #[test]
    fn a_new_member_takes_only_its_share() {
        let names: [ByteString; 2] = ["old".into(), "new".into()];
        let topics = BTreeMap::from([(topic(1), 4)]);
        let all: Assignment = partitions(&topics).collect();
        let mut members = names.iter().map(|member_id| Candidate {
            member_id,
            topics: topics.clone(),
            current: if member_id == "old" { all.clone() } else { Assignment::new() },
        });
        let members = [members.next().unwrap(), members.next().unwrap()];
        let assigned = Assignor::Uniform.assign(&members);
        assert!(assigned["old"].is_subset(&all));
        assert_eq!((assigned["old"].len(), assigned["new"].len()), (2, 2));
    }
}
