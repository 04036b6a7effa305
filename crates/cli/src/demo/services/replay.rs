//! Recommendations: a service that comes when all is over, and reads everything from the beginning in a new group.

use std::sync::Arc;

use super::{GroupOutcome, Read, Shop};
use crate::demo::{board::Service, order::OrderCreated};

pub(crate) async fn replay(shop: Arc<Shop>) -> anyhow::Result<GroupOutcome> {
    Read::<OrderCreated>::all(shop, Service::Replay).await
}
