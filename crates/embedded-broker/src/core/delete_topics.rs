//! DeleteTopics, by name or (version 6) by id.
//!
//! Imitates Kafka 4.3.1: the records and the offsets committed for the topic go with it, fetches that wait on it are
//! answered. Naming a topic both ways, or not at all, is INVALID_REQUEST.
//!
//! Leaves out: `delete.topic.enable` (deleting is always allowed).

use milena_protocol::{
    ErrorCode,
    messages::{
        DeleteTopicsRequest, DeleteTopicsResponse,
        delete_topics::{DeletableTopicResult, DeleteTopicState},
    },
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
};

impl Cluster {
    pub(super) fn delete_topics(&mut self, cx: &Context, request: DeleteTopicsRequest) -> Answer {
        let wanted = if cx.version >= 6 {
            request.topics
        } else {
            let names = request.topic_names.into_iter();
            names.map(|name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() }).collect()
        };
        let responses = wanted.into_iter().map(|topic| self.delete_topic(topic));
        DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() }.into()
    }

    fn delete_topic(&mut self, wanted: DeleteTopicState) -> DeletableTopicResult {
        let by_id = wanted.name.is_none();
        let found = if by_id == wanted.topic_id.is_zero() {
            Err(ErrorCode::INVALID_REQUEST)
        } else {
            let name = wanted.name.as_deref().unwrap_or_default();
            self.topics.find(by_id, name, wanted.topic_id).map(|topic| topic.name.clone())
        };
        match found {
            Ok(name) => {
                let topic_id = self.topics.remove(&name).map_or(wanted.topic_id, |topic| topic.id);
                self.groups.drop_topic(&name);
                self.pending_offsets.drop_topic(&name);
                self.fetches_may_complete = true;
                DeletableTopicResult { name: Some(name), topic_id, ..DeletableTopicResult::default() }
            }
            Err(error) => DeletableTopicResult {
                name: wanted.name,
                topic_id: wanted.topic_id,
                error_code: error.0,
                ..DeletableTopicResult::default()
            },
        }
    }
}
