//! Even, moving as little as possible, by members that give everything up before each round (KIP-54).
//!
//! What such a member owned it can't tell as owned, for it owns nothing by then. It is told in bytes of the assignor's own,
//! in the form of Java's `StickyAssignor`, so that members of both can be in one group. Bytes that can't be read are those of a
//! member that owned nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use milena_cluster::TopicPartition;
use milena_protocol::{
    DecodeError,
    wire::{ByteString, Packed, Reader, Writer},
};

use super::{Assignments, GroupMember, GroupMembers, PartitionCounts, cooperative_sticky};

pub(super) fn assign(members: &GroupMembers, partitions: &PartitionCounts) -> Assignments {
    let members = members.iter().map(|(id, member)| (id.clone(), as_told(member))).collect();
    cooperative_sticky::settle(&members, partitions)
}

/// The member, owning what it says it owned.
fn as_told(member: &GroupMember) -> GroupMember {
    let (owned, generation) = decode(&member.user_data).unwrap_or_default();
    GroupMember { owned, generation, ..member.clone() }
}

/// What a member owned in `generation`, as bytes.
pub(crate) fn user_data(owned: &BTreeSet<TopicPartition>, generation: i32) -> Bytes {
    let mut topics: BTreeMap<&ByteString, Vec<i32>> = BTreeMap::new();
    for partition in owned {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics: Vec<_> =
        topics.into_iter().map(|(topic, partitions)| (topic, Packed::from(partitions))).collect();
    let mut writer = Writer::new();
    let written = i32::try_from(topics.len()).ok().map(|count| {
        writer.i32(count);
        for (topic, partitions) in &topics {
            writer.string(false, topic)?;
            writer.packed(false, partitions)?;
        }
        writer.i32(generation);
        Ok::<(), milena_protocol::EncodeError>(())
    });
    match written {
        Some(Ok(())) => writer.finish().to_bytes(),
        _ => Bytes::new(),
    }
}

/// Members of before Java's 2.3 leave the generation out.
fn decode(bytes: &Bytes) -> Result<(BTreeSet<TopicPartition>, i32), DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut owned = BTreeSet::new();
    for _ in 0..reader.i32()? {
        let topic = reader.string(false)?;
        let partitions: Packed<i32> = reader.packed(false)?;
        owned.extend(partitions.iter().map(|index| TopicPartition::new(topic.clone(), index)));
    }
    let generation = if reader.remaining() == 0 { -1 } else { reader.i32()? };
    Ok((owned, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's `StickyAssignor.serializeTopicPartitionAssignment` makes of `t-0`, `t-2` in generation 7.
    const JAVA: &[u8] = b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x07";

    fn owned() -> BTreeSet<TopicPartition> {
        [0, 2].into_iter().map(|index| TopicPartition::new("t", index)).collect()
    }

    #[test]
    fn what_was_owned_is_told_as_java_does() {
        assert_eq!(user_data(&owned(), 7), JAVA);
        assert_eq!(decode(&Bytes::from_static(JAVA)), Ok((owned(), 7)));
        assert_eq!(decode(&Bytes::from_static(&JAVA[..JAVA.len() - 4])), Ok((owned(), -1)));
    }

    /// G6: the leader survives members that it can't read.
    #[test]
    fn every_cut_is_survived() {
        for end in (0..JAVA.len()).filter(|end| *end != JAVA.len() - 4) {
            assert!(decode(&Bytes::from_static(&JAVA[..end])).is_err(), "cut at {end}");
        }
        assert!(decode(&Bytes::from_static(b"\x7f\xff\xff\xff")).is_err());
    }
}
