//! DeleteGroups: groups without members, and what they committed.
//!
//! Imitates Kafka 4.3.1: a group with members is NON_EMPTY_GROUP, one that is not there GROUP_ID_NOT_FOUND; offsets that wait
//! for their transactions go too.

use milena_protocol::{
    ErrorCode,
    messages::{DeleteGroupsRequest, DeleteGroupsResponse, delete_groups::DeletableGroupResult},
};

use super::{
    Cluster,
    coordinators::Kind,
    dispatch::{Answer, Context},
};

impl Cluster {
    pub(super) fn delete_groups(&mut self, cx: &Context, request: DeleteGroupsRequest) -> Answer {
        let results = request.groups_names.into_iter().map(|group_id| {
            let deleted = self.delete_group(cx, &group_id);
            let error_code = deleted.err().unwrap_or(ErrorCode::NONE).0;
            DeletableGroupResult { group_id, error_code, ..DeletableGroupResult::default() }
        });
        DeleteGroupsResponse { results: results.collect(), ..DeleteGroupsResponse::default() }.into()
    }

    fn delete_group(&mut self, cx: &Context, id: &str) -> Result<(), ErrorCode> {
        // Not even an empty id is looked at more closely.
        self.check_coordinator(cx.broker, Kind::Group, id)?;
        let group = self.groups.named(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if !group.kind.is_empty() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        self.groups.remove(id);
        self.pending_offsets.drop_group(id);
        Ok(())
    }
}
