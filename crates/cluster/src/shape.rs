//! Old shapes of a few requests: machines write the newest, brokers may speak an older one.
//!
//! Most fields that come or go between versions are ignorable, and the codec leaves them out. Here are the requests
//! that an older version words differently.

use milena_protocol::messages::{
    Request, Response,
    find_coordinator::Coordinator,
    offset_fetch::{
        OffsetFetchRequestTopic, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopics,
    },
};

/// The first version of FindCoordinator that asks for several keys at once (KIP-699).
const BATCHED_FIND_COORDINATOR: i16 = 4;
/// The first version of OffsetFetch that asks for several groups at once (KIP-709).
const BATCHED_OFFSET_FETCH: i16 = 8;
/// The first version of LeaveGroup that takes several members out at once (KIP-345).
const BATCHED_LEAVE_GROUP: i16 = 3;
/// The first version of DeleteTopics that can name topics by their ids (KIP-516).
const DELETE_TOPICS_BY_ID: i16 = 6;
/// The first version of Metadata that can ask not to create a topic.
const METADATA_WITHOUT_CREATION: i16 = 4;

/// The request as `version` words it. What an older version has no words for is left as it is, and encoding refuses it.
#[must_use]
pub fn to_version(mut request: Request, version: i16) -> Request {
    match &mut request {
        Request::FindCoordinator(find) if version < BATCHED_FIND_COORDINATOR => {
            if let [key] = find.coordinator_keys.as_slice() {
                find.key = key.clone();
                find.coordinator_keys.clear();
            }
        }
        Request::OffsetFetch(fetch) if version < BATCHED_OFFSET_FETCH => {
            if fetch.groups.len() == 1
                && let Some(group) = fetch.groups.pop()
            {
                fetch.group_id = group.group_id;
                fetch.topics = group.topics.map(|topics| {
                    let old = topics.into_iter().map(|topic| OffsetFetchRequestTopic {
                        name: topic.name,
                        partition_indexes: topic.partition_indexes,
                        ..Default::default()
                    });
                    old.collect()
                });
            }
        }
        Request::LeaveGroup(leave) if version < BATCHED_LEAVE_GROUP => {
            if leave.members.len() == 1
                && let Some(member) = leave.members.pop()
            {
                leave.member_id = member.member_id;
            }
        }
        Request::DeleteTopics(delete) if version < DELETE_TOPICS_BY_ID => {
            let is_named = delete.topics.iter().all(|topic| topic.name.is_some() && topic.topic_id.is_zero());
            if is_named {
                delete.topic_names = delete.topics.drain(..).filter_map(|topic| topic.name).collect();
            }
        }
        Request::Metadata(metadata) if version < METADATA_WITHOUT_CREATION => {
            metadata.allow_auto_topic_creation = true;
        }
        _ => {}
    }
    request
}

/// The response as the newest version would word what came in `version`.
#[must_use]
pub fn from_version(mut response: Response, version: i16) -> Response {
    match &mut response {
        Response::FindCoordinator(find) if version < BATCHED_FIND_COORDINATOR => {
            find.coordinators = vec![Coordinator {
                node_id: find.node_id,
                host: find.host.clone(),
                port: find.port,
                error_code: find.error_code,
                error_message: find.error_message.clone(),
                ..Default::default()
            }];
        }
        Response::OffsetFetch(fetch) if version < BATCHED_OFFSET_FETCH => {
            let topics =
                std::mem::take(&mut fetch.topics).into_iter().map(|topic| OffsetFetchResponseTopics {
                    name: topic.name,
                    partitions: topic
                        .partitions
                        .into_iter()
                        .map(|partition| OffsetFetchResponsePartitions {
                            partition_index: partition.partition_index,
                            committed_offset: partition.committed_offset,
                            committed_leader_epoch: partition.committed_leader_epoch,
                            metadata: partition.metadata,
                            error_code: partition.error_code,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                });
            fetch.groups = vec![OffsetFetchResponseGroup {
                topics: topics.collect(),
                error_code: fetch.error_code,
                ..Default::default()
            }];
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use milena_protocol::{
        messages::{
            DeleteTopicsRequest, FindCoordinatorRequest, LeaveGroupRequest, OffsetFetchRequest,
            delete_topics::DeleteTopicState,
            leave_group::MemberIdentity,
            offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        },
        wire::{Encode, Writer},
    };

    use super::*;

    #[test]
    fn every_version_can_carry_what_a_machine_asks() {
        let topic = OffsetFetchRequestTopics { name: "letters".into(), ..Default::default() };
        let group = OffsetFetchRequestGroup {
            group_id: "readers".into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let member = MemberIdentity { member_id: "me".into(), ..Default::default() };
        let topics = vec![DeleteTopicState { name: Some("letters".into()), ..Default::default() }];
        let requests: [Request; 4] = [
            DeleteTopicsRequest { topics, ..Default::default() }.into(),
            FindCoordinatorRequest { coordinator_keys: vec!["readers".into()], ..Default::default() }.into(),
            OffsetFetchRequest { groups: vec![group], ..Default::default() }.into(),
            LeaveGroupRequest { group_id: "readers".into(), members: vec![member], ..Default::default() }
                .into(),
        ];
        for request in requests {
            for version in request.api_key().stable_versions() {
                let shaped = to_version(request.clone(), version);
                let encoded = shaped.encode(&mut Writer::new(), version);
                assert_eq!(encoded, Ok(()), "{} version {version}", request.api_key());
            }
        }
    }
}
