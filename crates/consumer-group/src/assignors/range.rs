//! Topic by topic: neighbours go to one member, and the first members get one more when it does not come out even.

use milena_cluster::TopicPartition;

use super::{Assignments, GroupMembers, PartitionCounts, count, in_order, nothing, topics};

pub(super) fn assign(members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
    let mut assignments = nothing(members);
    let ordered = in_order(members);
    for topic in topics(members) {
        let readers: Vec<_> =
            ordered.iter().filter(|(_, subscription)| subscription.topics.contains(topic)).collect();
        let count = usize::try_from(count(partitions, topic)).unwrap_or(0);
        let (each, left) = (count / readers.len().max(1), count % readers.len().max(1));
        let mut next = 0..;
        for (place, (member, _)) in readers.into_iter().enumerate() {
            let share = each + usize::from(place < left);
            let run = next.by_ref().take(share).map(|index| TopicPartition::new(topic.clone(), index));
            if let Some(assigned) = assignments.get_mut(*member) {
                assigned.extend(run);
            }
        }
    }
    assignments
}
