//! All partitions, in the order of topic and index, go around the members that read their topic.

use milena_cluster::TopicPartition;

use super::{Assignments, GroupMembers, PartitionCounts, count, in_order, nothing, topics};

pub(super) fn assign(members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
    let mut assignments = nothing(members);
    let ordered = in_order(members);
    let mut turn = 0;
    for topic in topics(members) {
        for index in 0..count(partitions, topic) {
            let reader = (0..ordered.len()).map(|step| (turn + step) % ordered.len()).find(|place| {
                ordered.get(*place).is_some_and(|(_, subscription)| subscription.topics.contains(topic))
            });
            let Some(place) = reader else { continue };
            turn = place + 1;
            let assigned = ordered.get(place).and_then(|(member, _)| assignments.get_mut(*member));
            if let Some(assigned) = assigned {
                assigned.insert(TopicPartition::new(topic.clone(), index));
            }
        }
    }
    assignments
}
