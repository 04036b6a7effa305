//! ListGroups: the groups that a broker coordinates.
//!
//! Imitates Kafka 4.3.1: groups of both kinds, and those that only commit offsets; filters by state (version 4) and kind
//! (version 5), whatever the case of their letters.
//!
//! Leaves out: groups of other kinds, which there are none of here.

use milena_protocol::{
    ErrorCode,
    messages::{ListGroupsRequest, ListGroupsResponse, list_groups::ListedGroup},
    wire::ByteString,
};

use super::{
    Cluster,
    coordinators::Kind as Coordinated,
    dispatch::{Answer, Context},
    groups::{Group, Kind},
};

impl Cluster {
    pub(super) fn list_groups(&self, cx: &Context, request: &ListGroupsRequest) -> Answer {
        let wanted = |filter: &[ByteString], is: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        let mut groups = Vec::new();
        for (id, group) in self.groups.iter() {
            match self.check_coordinator(cx.broker, Coordinated::Group, id) {
                Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => {
                    let error_code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0;
                    return ListGroupsResponse { error_code, ..ListGroupsResponse::default() }.into();
                }
                Err(_) => continue,
                Ok(()) => {}
            }
            let listed = listed(id, group);
            if wanted(&request.states_filter, &listed.group_state)
                && wanted(&request.types_filter, &listed.group_type)
            {
                groups.push(listed);
            }
        }
        ListGroupsResponse { groups, ..ListGroupsResponse::default() }.into()
    }
}

fn listed(id: &ByteString, group: &Group) -> ListedGroup {
    let (protocol_type, group_type) = match &group.kind {
        Kind::Classic(group) => (group.protocol_type.clone(), "classic"),
        Kind::Consumer(_) => (ByteString::from_static("consumer"), "consumer"),
    };
    ListedGroup {
        group_id: id.clone(),
        protocol_type,
        group_state: ByteString::from_static(group.kind.state_name()),
        group_type: ByteString::from_static(group_type),
        ..ListedGroup::default()
    }
}
