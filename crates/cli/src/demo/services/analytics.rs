//! Analytics: a plain consumer that was written for the first schema, and reads orders of the second all the same.

use std::sync::Arc;

use super::{GroupOutcome, Read, Shop};
use crate::demo::{board::Service, order::OrderCreatedV1};

pub(crate) async fn analytics(shop: Arc<Shop>) -> anyhow::Result<GroupOutcome> {
    Read::<OrderCreatedV1>::all(shop, Service::Analytics).await
}
