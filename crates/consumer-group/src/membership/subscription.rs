//! What members of a classic group tell each other, as bytes inside JoinGroup and SyncGroup.
//!
//! Both messages begin with their version. A member may be of any client and any age: what can't be read of it is taken
//! as an empty subscription, and bytes after the last known field belong to a later version.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use milena_cluster::TopicPartition;
use milena_protocol::{
    DecodeError,
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
        consumer_protocol_subscription,
    },
    wire::{ByteString, Decode, Encode, Packed, Reader, Writer},
};

use crate::assignors::GroupMember;

/// The newest version of either message that is known.
const NEWEST: i16 = 3;

/// What a member reads and owns, as bytes.
pub(super) fn encode_subscription(
    topics: &BTreeSet<ByteString>,
    owned: &BTreeSet<TopicPartition>,
    generation: i32,
    rack: Option<&ByteString>,
    user_data: Option<Bytes>,
) -> Bytes {
    let owned_partitions = by_topic(owned).into_iter().map(|(topic, partitions)| {
        consumer_protocol_subscription::TopicPartition { topic, partitions: Packed::from(partitions) }
    });
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().cloned().collect(),
        owned_partitions: owned_partitions.collect(),
        generation_id: generation,
        rack_id: rack.cloned(),
        user_data,
    };
    encode(&message)
}

/// What a member says of itself; nothing where it can't be read.
pub(super) fn decode_subscription(bytes: &Bytes) -> GroupMember {
    let Ok(message) = decode::<ConsumerProtocolSubscription>(bytes) else { return GroupMember::default() };
    let owned = message.owned_partitions.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| TopicPartition::new(topic.topic.clone(), index))
    });
    GroupMember {
        topics: message.topics.iter().cloned().collect(),
        owned: owned.collect(),
        generation: message.generation_id,
        instance_id: None,
        rack: message.rack_id.clone(),
        user_data: message.user_data.clone().unwrap_or_default(),
    }
}

/// What a member is assigned, as bytes.
pub(super) fn encode_assignment(partitions: &BTreeSet<TopicPartition>) -> Bytes {
    let assigned_partitions = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition { topic, partitions: Packed::from(partitions) }
    });
    let message = ConsumerProtocolAssignment {
        assigned_partitions: assigned_partitions.collect(),
        ..Default::default()
    };
    encode(&message)
}

/// What the leader assigned. A leader that has nothing for a member may send no bytes at all.
pub(super) fn decode_assignment(bytes: &Bytes) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let message = decode::<ConsumerProtocolAssignment>(bytes)?;
    let partitions = message.assigned_partitions.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| TopicPartition::new(topic.topic.clone(), index))
    });
    Ok(partitions.filter(|partition| partition.partition >= 0).collect())
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> BTreeMap<ByteString, Vec<i32>> {
    let mut topics: BTreeMap<ByteString, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.clone()).or_default().push(partition.partition);
    }
    topics
}

/// Only a topic name longer than the protocol can say makes this empty, and no broker has one.
fn encode(message: &impl Encode) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(NEWEST);
    match message.encode(&mut writer, NEWEST) {
        Ok(()) => writer.finish().to_bytes(),
        Err(_) => Bytes::new(),
    }
}

fn decode<T: Decode>(bytes: &Bytes) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    T::decode(&mut reader, version.clamp(0, NEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(indexes: &[i32]) -> BTreeSet<TopicPartition> {
        indexes.iter().map(|index| TopicPartition::new("letters", *index)).collect()
    }

    #[test]
    fn what_is_said_is_understood() {
        let topics = BTreeSet::from(["letters".into(), "replies".into()]);
        let bytes =
            encode_subscription(&topics, &partitions(&[0, 2]), 7, Some(&"r1".into()), Some("mine".into()));
        assert_eq!(&bytes[..2], [0, 3]);
        let subscription = decode_subscription(&bytes);
        assert_eq!(subscription.topics, topics);
        assert_eq!(subscription.owned, partitions(&[0, 2]));
        assert_eq!(subscription.generation, 7);
        assert_eq!((subscription.rack, &*subscription.user_data), (Some("r1".into()), b"mine".as_slice()));
        let assignment = encode_assignment(&partitions(&[1, 5]));
        assert_eq!(decode_assignment(&assignment), Ok(partitions(&[1, 5])));
        assert_eq!(decode_assignment(&Bytes::new()), Ok(partitions(&[])));
    }

    #[test]
    fn the_oldest_and_a_future_version_are_understood() {
        let mut old = vec![0, 0, 0, 0, 0, 1, 0, 1];
        old.extend(b"t");
        old.extend([0xff; 4]);
        assert_eq!(decode_subscription(&old.into()).topics, BTreeSet::from(["t".into()]));
        let topics = BTreeSet::from(["letters".into()]);
        let mut future = encode_subscription(&topics, &partitions(&[]), 1, None, None).to_vec();
        future[1] = 9;
        future.extend([1, 2, 3]);
        assert_eq!(decode_subscription(&future.into()).topics, topics);
    }

    /// G6: the leader survives members that it can't read.
    #[test]
    fn every_cut_of_a_subscription_is_survived() {
        let topics = BTreeSet::from(["letters".into()]);
        let bytes = encode_subscription(&topics, &partitions(&[0, 2]), 7, None, None);
        for end in 0..bytes.len() {
            let cut = decode_subscription(&bytes.slice(..end));
            assert!(cut.topics.is_empty() && cut.owned.is_empty(), "cut at {end}");
        }
        let assignment = encode_assignment(&partitions(&[1]));
        assert!(decode_assignment(&assignment.slice(..7)).is_err());
    }
}
