//! The schemas of the orders, and their registry.

use std::sync::Arc;

use anyhow::Context;
use milena_schema_registry::{
    AvroDecoder, AvroEncoder, CompatibilityLevel, EncoderOptions, Schema, SchemaRegistry,
    SubjectNameStrategy, server::InProcessRegistry,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{names::Names, plan::Writer};
use crate::advised::advised;

/// What orders have had from the beginning.
const FIELDS: &str = r#"
    {"name": "orderId", "type": "long"},
    {"name": "customerId", "type": "long"},
    {"name": "customerSequence", "type": "long"},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
        {"name": "productId", "type": "long"},
        {"name": "quantity", "type": "long"},
        {"name": "price", "type": "long"}
    ]}}},
    {"name": "totalAmount", "type": "long"},
    {"name": "createdAt", "type": "long"}"#;
/// What the second schema adds: it has a default, so old orders can be read by it.
const COUPON: &str = r#"{"name": "couponCode", "type": ["null", "string"], "default": null}"#;
/// What nobody can add: no order that exists has it.
const WAREHOUSE: &str = r#"{"name": "warehouseId", "type": "long"}"#;

/// The registry and how orders are written and read by it.
pub(crate) struct Schemas {
    registry: SchemaRegistry,
    /// Where it is.
    pub(crate) url: String,
    subject: String,
    /// The one in this process, which ends with this.
    _in_process: Option<InProcessRegistry>,
}

/// What the registry said to a schema that does not fit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Refusal {
    /// The status of its answer; none when it took the schema, or did not answer.
    pub(crate) status: Option<u16>,
    pub(crate) reason: String,
}

impl Schemas {
    /// The registry at `url`, or one in this process.
    pub(crate) async fn connect(url: Option<&str>, names: &Names) -> anyhow::Result<Self> {
        let in_process = match url {
            Some(_) => None,
            None => Some(InProcessRegistry::start().await.context("starting the schema registry")?),
        };
        let url = match (url, &in_process) {
            (Some(url), _) => url.to_owned(),
            (None, started) => started.as_ref().map(InProcessRegistry::url).unwrap_or_default(),
        };
        let registry = SchemaRegistry::builder(url.as_str()).build().map_err(|error| {
            advised(error, format!("{url} is none; leave --registry out for one in this process"))
        })?;
        Ok(Self { registry, url, subject: names.subject(), _in_process: in_process })
    }

    /// Registers the two schemas that orders are written by, and offers a third which must be refused.
    pub(crate) async fn register(&self) -> anyhow::Result<Refusal> {
        // Both order services write at once, so each schema has to read what the other writes.
        let first = self.registry.register(&self.subject, &schema(Writer::V1), false).await;
        first.map_err(|error| {
            advised(error, "is it a registry's URL? leave --registry out for one in this process")
        })?;
        self.registry.set_subject_compatibility_level(&self.subject, CompatibilityLevel::Full).await?;
        self.registry.register(&self.subject, &schema(Writer::V2), false).await?;
        Ok(match self.registry.register(&self.subject, &unfit(), false).await {
            Ok(id) => Refusal { status: None, reason: format!("it was registered as {id}") },
            Err(error) => Refusal { status: error.http_status(), reason: error.to_string() },
        })
    }

    /// Writes orders by a schema that is registered.
    pub(crate) async fn encoder(&self, writer: Writer) -> anyhow::Result<AvroEncoder> {
        let by = SubjectNameStrategy::TopicName;
        let encoder = AvroEncoder::new(self.registry.clone(), schema(writer), by).await?;
        Ok(encoder.options(EncoderOptions::default().auto_register(false)))
    }

    /// Reads orders of both schemas as one of them has them.
    pub(crate) async fn decoder<O: DeserializeOwned>(
        &self,
        reader: Writer,
    ) -> anyhow::Result<Arc<AvroDecoder<O>>> {
        Ok(Arc::new(AvroDecoder::new(self.registry.clone(), Some(schema(reader))).await?))
    }
}

fn schema(writer: Writer) -> Schema {
    match writer {
        Writer::V1 => order_with(&[]),
        Writer::V2 => order_with(&[COUPON]),
    }
}

fn unfit() -> Schema {
    order_with(&[COUPON, WAREHOUSE])
}

fn order_with(more: &[&str]) -> Schema {
    let fields = [&[FIELDS], more].concat().join(",\n    ");
    Schema::avro(format!(
        r#"{{"type": "record", "name": "OrderCreated", "namespace": "shop", "fields": [{fields}
]}}"#
    ))
}

#[cfg(test)]
mod tests {
    use milena_schema_registry::Part;

    use super::{
        super::order::{OrderCreated, OrderCreatedV1, OrderStream},
        *,
    };
    use crate::demo::plan::Plan;

    #[tokio::test]
    async fn each_schema_reads_what_the_other_writes_and_a_third_is_refused() {
        let schemas = Schemas::connect(None, &Names::new("orders".to_owned())).await.unwrap();
        let refusal = schemas.register().await.unwrap();
        assert_eq!(refusal.status, Some(409));
        assert!(
            refusal.reason.contains("warehouseId") || refusal.reason.contains("default"),
            "{}",
            refusal.reason
        );

        let plan = Plan::new(1, 100, 10);
        let mut stream = OrderStream::new(plan);
        let order =
            std::iter::repeat_with(|| stream.next(5)).find(|order| order.coupon_code.is_some()).unwrap();
        let first = OrderCreatedV1::from(order.clone());
        let by_first = schemas.encoder(Writer::V1).await.unwrap();
        let by_second = schemas.encoder(Writer::V2).await.unwrap();
        let old = by_first.encode("orders", Part::Value, &first).await.unwrap();
        let new = by_second.encode("orders", Part::Value, &order).await.unwrap();
        let reads_first = schemas.decoder::<OrderCreatedV1>(Writer::V1).await.unwrap();
        let reads_second = schemas.decoder::<OrderCreated>(Writer::V2).await.unwrap();
        for bytes in [&old, &new] {
            assert_eq!(reads_first.decode(bytes).await.unwrap(), first);
        }
        assert_eq!(reads_second.decode(&new).await.unwrap(), order);
        let without = OrderCreated { coupon_code: None, ..order };
        assert_eq!(reads_second.decode(&old).await.unwrap(), without);
    }
}
