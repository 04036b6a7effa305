//! What every assignor owes: each partition to exactly one member that reads it, the same for the same input.

use proptest::prelude::*;

use super::*;

const ALL: [Assignor; 4] =
    [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

fn member(topics: &[&str]) -> GroupMember {
    GroupMember { topics: topics.iter().map(|topic| (*topic).into()).collect(), ..Default::default() }
}

fn members(of: &[(&str, &[&str])]) -> GroupMembers {
    of.iter().map(|(id, topics)| ((*id).into(), member(topics))).collect()
}

fn counts(of: &[(&str, i32)]) -> PartitionCounts {
    of.iter().map(|(topic, count)| ((*topic).into(), *count)).collect()
}

fn show(assignments: &Assignments) -> String {
    let show = |(member, partitions): (&ByteString, &BTreeSet<TopicPartition>)| {
        let partitions: Vec<_> = partitions.iter().map(ToString::to_string).collect();
        format!("{member}: {}", partitions.join(" "))
    };
    assignments.iter().map(show).collect::<Vec<_>>().join("; ")
}

#[test]
fn range_gives_runs_and_the_first_members_one_more() {
    let members = members(&[("a", &["t", "u"]), ("b", &["t", "u"]), ("c", &["t"])]);
    let assigned = Assignor::Range.assign(&members, &counts(&[("t", 7), ("u", 3)]));
    assert_eq!(show(&assigned), "a: t-0 t-1 t-2 u-0 u-1; b: t-3 t-4 u-2; c: t-5 t-6");
}

#[test]
fn round_robin_goes_around_across_topics() {
    let members = members(&[("a", &["t", "u"]), ("b", &["t", "u"]), ("c", &["t"])]);
    let assigned = Assignor::RoundRobin.assign(&members, &counts(&[("t", 4), ("u", 2)]));
    assert_eq!(show(&assigned), "a: t-0 t-3 u-1; b: t-1 u-0; c: t-2");
}

#[test]
fn static_members_keep_their_place_when_their_member_id_changes() {
    let with = |x: &str, y: &str| {
        let mut members = members(&[(x, &["t"]), (y, &["t"])]);
        members.get_mut(x).unwrap().instance_id = Some("1".into());
        members.get_mut(y).unwrap().instance_id = Some("2".into());
        Assignor::Range.assign(&members, &counts(&[("t", 3)]))[x].len()
    };
    assert_eq!(with("a", "b"), 2);
    assert_eq!(with("z", "b"), 2);
}

fn claim(members: &mut GroupMembers, member: &str, generation: i32, indexes: std::ops::Range<i32>) {
    let subscription = members.get_mut(member).unwrap();
    subscription.generation = generation;
    subscription.owned = indexes.map(|index| TopicPartition::new("t", index)).collect();
}

/// G6: only the difference is revoked, and nobody gets it before it is given up.
#[test]
fn cooperative_sticky_moves_little_and_in_two_rounds() {
    let mut members = members(&[("a", &["t"]), ("b", &["t"])]);
    claim(&mut members, "a", 5, 0..4);
    let counts = counts(&[("t", 4)]);
    let first = Assignor::CooperativeSticky.assign(&members, &counts);
    assert_eq!(show(&first), "a: t-2 t-3; b: ");
    claim(&mut members, "a", 6, 2..4);
    claim(&mut members, "b", 6, 0..0);
    let second = Assignor::CooperativeSticky.assign(&members, &counts);
    assert_eq!(show(&second), "a: t-2 t-3; b: t-0 t-1");
}

/// What a member owned before it gave everything up comes back to it, and what moves does so in one round.
#[test]
fn sticky_gives_back_what_was_owned() {
    let mut members = members(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])]);
    let owned = |indexes: &[i32]| indexes.iter().map(|index| TopicPartition::new("t", *index)).collect();
    members.get_mut("b").unwrap().user_data = sticky::user_data(&owned(&[0, 1, 2]), 5);
    members.get_mut("c").unwrap().user_data = sticky::user_data(&owned(&[3, 4, 5]), 5);
    let assigned = Assignor::Sticky.assign(&members, &counts(&[("t", 6)]));
    assert_eq!(show(&assigned), "a: t-0 t-3; b: t-1 t-2; c: t-4 t-5");
    // What cannot be read says nothing.
    members.get_mut("b").unwrap().user_data = Bytes::from_static(b"nonsense");
    check(&members, &counts(&[("t", 6)]), &Assignor::Sticky.assign(&members, &counts(&[("t", 6)])), true);
}

/// Gives everything to everybody, and more than there is.
#[derive(Debug)]
struct Greedy {
    is_cooperative: bool,
}

impl Assign for Greedy {
    fn name(&self) -> &str {
        "greedy"
    }

    fn assign(&self, members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
        let all: BTreeSet<_> = partitions
            .iter()
            .flat_map(|(topic, count)| (-1..=*count).map(|index| TopicPartition::new(topic.clone(), index)))
            .chain([TopicPartition::new("nowhere", 0)])
            .collect();
        let nobody = ByteString::from_static("nobody");
        members.keys().chain([&nobody]).map(|member| (member.clone(), all.clone())).collect()
    }

    fn is_cooperative(&self) -> bool {
        self.is_cooperative
    }
}

/// However wrong a custom assignor is, no partition has two owners, and none that another owns yet is given away.
#[test]
fn a_custom_assignor_is_held_to_what_can_be() {
    let mut members = members(&[("a", &["t"]), ("b", &["t", "u"])]);
    let counts = counts(&[("t", 2), ("u", 1)]);
    let eager = Assignor::Custom(Arc::new(Greedy { is_cooperative: false }));
    assert_eq!(show(&eager.assign(&members, &counts)), "a: t-0 t-1; b: u-0");
    assert_eq!((eager.name(), eager.is_cooperative()), ("greedy", false));
    claim(&mut members, "b", 3, 0..1);
    let cooperative = Assignor::Custom(Arc::new(Greedy { is_cooperative: true }));
    assert_eq!(show(&cooperative.assign(&members, &counts)), "a: t-1; b: u-0");
}

/// G6: a claim from an earlier generation is stale (KIP-792).
#[test]
fn cooperative_sticky_believes_the_latest_claim() {
    let mut members = members(&[("a", &["t"]), ("b", &["t"])]);
    claim(&mut members, "a", 4, 0..2);
    claim(&mut members, "b", 5, 0..1);
    let assigned = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 2)]));
    assert_eq!(show(&assigned), "a: t-1; b: t-0");
}

type Generated = (String, (BTreeSet<usize>, BTreeSet<(usize, i32)>, i32, Option<i32>));

fn groups() -> impl Strategy<Value = (GroupMembers, PartitionCounts)> {
    let topics = ["t", "u", "v"];
    let one = (
        proptest::collection::btree_set(0..3usize, 0..=3),
        proptest::collection::btree_set((0..3usize, -1..8), 0..10),
        -1..3,
        proptest::option::of(0..4),
    );
    let members = proptest::collection::btree_map("[a-z]{3}", one, 1..6);
    let members = members.prop_map(move |members| {
        let member = |(id, (reads, owned, generation, instance)): Generated| {
            let subscription = GroupMember {
                topics: reads.into_iter().map(|topic| topics[topic].into()).collect(),
                owned: owned
                    .into_iter()
                    .map(|(topic, index)| TopicPartition::new(topics[topic], index))
                    .collect(),
                generation,
                instance_id: instance.map(|instance| format!("{id}-{instance}").into()),
                ..Default::default()
            };
            (id.into(), subscription)
        };
        members.into_iter().map(member).collect::<GroupMembers>()
    });
    let counts = proptest::collection::btree_map(0..3usize, 0..9, 0..=3).prop_map(move |counts| {
        counts.into_iter().map(|(topic, count)| (topics[topic].into(), count)).collect()
    });
    (members, counts)
}

/// Every partition that somebody reads, and who has it.
fn check(members: &GroupMembers, counts: &PartitionCounts, assigned: &Assignments, all: bool) {
    assert_eq!(assigned.keys().collect::<Vec<_>>(), members.keys().collect::<Vec<_>>());
    let mut seen = BTreeSet::new();
    for (member, partitions) in assigned {
        for partition in partitions {
            assert!(members[member].topics.contains(&partition.topic), "{member} does not read {partition}");
            assert!((0..counts.get(&partition.topic).copied().unwrap_or(0)).contains(&partition.partition));
            assert!(seen.insert(partition.clone()), "{partition} has two owners");
        }
    }
    if all {
        let read = topics(members);
        let expected: i32 = read.iter().map(|topic| count(counts, topic)).sum();
        assert_eq!(seen.len(), usize::try_from(expected).unwrap(), "a partition has no owner");
    }
}

proptest! {
    #[test]
    fn every_partition_goes_to_exactly_one_member_that_reads_it((members, counts) in groups()) {
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky] {
            check(&members, &counts, &assignor.assign(&members, &counts), true);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_assignment((members, counts) in groups()) {
        for assignor in ALL {
            prop_assert_eq!(assignor.assign(&members, &counts), assignor.assign(&members.clone(), &counts.clone()));
        }
    }

    /// Cooperative rounds come to rest: everything has an owner, and the next round changes nothing.
    #[test]
    fn cooperative_rounds_come_to_rest((members, counts) in groups()) {
        let mut members = members;
        for round in 3..13 {
            let assigned = Assignor::CooperativeSticky.assign(&members, &counts);
            check(&members, &counts, &assigned, false);
            let mut changed = false;
            for (member, partitions) in assigned {
                let subscription = members.get_mut(&member).unwrap();
                changed |= subscription.owned != partitions;
                (subscription.owned, subscription.generation) = (partitions, round);
            }
            if !changed {
                let last = Assignor::CooperativeSticky.assign(&members, &counts);
                check(&members, &counts, &last, true);
                return Ok(());
            }
        }
        prop_assert!(false, "ten rounds were not enough");
    }

    /// With one subscription for all, nobody has two more than another.
    #[test]
    fn sticky_is_even_where_all_read_the_same(count in 0..40, held in 0..40, others in 1..6usize) {
        let ids: Vec<String> = (0..=others).map(|other| format!("m{other}")).collect();
        let mut members: GroupMembers = ids.iter().map(|id| (id.as_str().into(), member(&["t"]))).collect();
        claim(&mut members, "m0", 1, 0..held);
        let counts = counts(&[("t", count)]);
        let mut last = Assignments::new();
        for round in 2..4 {
            last = Assignor::CooperativeSticky.assign(&members, &counts);
            for (member, partitions) in &last {
                let subscription = members.get_mut(member).unwrap();
                (subscription.owned, subscription.generation) = (partitions.clone(), round);
            }
        }
        let loads: Vec<_> = last.values().map(BTreeSet::len).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
    }
}
