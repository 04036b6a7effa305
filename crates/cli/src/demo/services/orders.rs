//! An order service. Two of them run side by side, each with a schema and customers of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use milena::{Bytes, Certainty, Codec, Delivery, Record, RecordMetadata};
use milena_schema_registry::{AvroEncoder, Part};

use super::{ORDER_ID, RUN, SENT_AT, Shop, now_us};
use crate::demo::{
    bits::Bits,
    board::Service,
    order::{self, OrderCreated, OrderCreatedV1, OrderStream},
    plan::{Fate, Writer},
};

/// How many deliveries may be open before the oldest is waited for: what bounds the demo's own memory.
const OPEN_DELIVERIES: usize = 32_768;

/// Publishes the orders of its customers.
pub(crate) struct OrderService {
    shop: Arc<Shop>,
    writer: Writer,
    encoder: AvroEncoder,
    rate: Option<u64>,
    compression: Codec,
}

/// What became of the orders.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) acknowledged: Bits,
    /// Those that will be dead letters, as they were sent.
    pub(crate) sent: BTreeMap<u64, Sent>,
    pub(crate) produced: Produced,
}

/// How many orders became what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Produced {
    pub(crate) orders: u64,
    pub(crate) not_written: u64,
    pub(crate) possibly_written: u64,
    pub(crate) took: Duration,
    /// The first error, if there was one.
    pub(crate) error: Option<String>,
}

/// A record as it was sent, and where it was written, if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
}

impl OrderService {
    pub(crate) async fn new(
        shop: Arc<Shop>,
        writer: Writer,
        rate: Option<u64>,
        compression: Codec,
    ) -> anyhow::Result<Self> {
        let encoder = shop.schemas.encoder(writer).await?;
        Ok(Self { shop, writer, encoder, rate, compression })
    }

    pub(crate) async fn run(self) -> anyhow::Result<Ordered> {
        let plan = self.shop.plan;
        let producer =
            self.shop.client.producer().compression(self.compression).batch_size(256 * 1024).build()?;
        let mut tally = Tally::new(plan.orders);
        let mut open = VecDeque::new();
        let start = Instant::now();
        // Both services make all orders, so that neither has to tell the other.
        let mut stream = OrderStream::new(plan);
        for id in 0..plan.orders {
            self.keep_pace(start, id).await;
            let sent_at = now_us();
            let order = stream.next(sent_at / 1000);
            if plan.writer(order.customer_id) != self.writer {
                continue;
            }
            tally.produced.orders += 1;
            let sent = self.record_of(order, sent_at).await?;
            match producer.enqueue(sent.record(self.shop.names.orders())).await {
                Ok(delivery) => open.push_back((id, delivery)),
                Err(error) => tally.failed(error.certainty(), &error),
            }
            if plan.fate(id) == Fate::Dead {
                tally.sent.insert(id, sent);
            }
            if open.len() >= OPEN_DELIVERIES
                && let Some((id, delivery)) = open.pop_front()
            {
                tally.settle(id, delivery).await;
            }
            if tally.produced.orders.is_multiple_of(256) {
                self.shop.board.set_done(self.service(), tally.produced.orders);
            }
        }
        producer.flush().await?;
        while let Some((id, delivery)) = open.pop_front() {
            tally.settle(id, delivery).await;
        }
        tally.produced.took = start.elapsed();
        self.shop.board.set_done(self.service(), tally.produced.orders);
        producer.close(Duration::from_secs(10)).await?;
        let Tally { acknowledged, sent, produced } = tally;
        Ok(Ordered { acknowledged, sent, produced })
    }

    async fn record_of(&self, order: OrderCreated, sent_at: u64) -> anyhow::Result<Sent> {
        let topic = self.shop.names.orders();
        let (id, customer) = (order.order_id, order.customer_id);
        let (value, source) = match self.writer {
            Writer::V1 => {
                let order = OrderCreatedV1::from(order);
                (self.encoder.encode(topic, Part::Value, &order).await?, "order-service-v1")
            }
            Writer::V2 => (self.encoder.encode(topic, Part::Value, &order).await?, "order-service-v2"),
        };
        let headers = [
            (SENT_AT, sent_at.to_string()),
            (RUN, self.shop.run.clone()),
            (ORDER_ID, id.to_string()),
            ("source", source.to_owned()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).into();
        Ok(Sent { key: order::key(customer).into(), value, headers, partition: None, offset: None })
    }

    fn service(&self) -> Service {
        match self.writer {
            Writer::V1 => Service::OrdersV1,
            Writer::V2 => Service::OrdersV2,
        }
    }

    /// Waits until the order's turn has come, when there is a rate.
    async fn keep_pace(&self, start: Instant, id: u64) {
        let Some(rate) = self.rate else { return };
        let due = start + Duration::from_secs_f64(id as f64 / rate as f64);
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

impl Sent {
    fn record(&self, topic: &str) -> Record {
        let record = Record::new(topic).key(self.key.clone()).value(self.value.clone());
        self.headers.iter().fold(record, |record, (name, value)| record.header(name.as_str(), value.clone()))
    }
}

#[derive(Debug)]
struct Tally {
    acknowledged: Bits,
    sent: BTreeMap<u64, Sent>,
    produced: Produced,
}

impl Tally {
    fn new(orders: u64) -> Self {
        Self { acknowledged: Bits::new(orders), sent: BTreeMap::new(), produced: Produced::default() }
    }

    async fn settle(&mut self, id: u64, delivery: Delivery) {
        match delivery.await {
            Ok(RecordMetadata { partition, offset, .. }) => {
                self.acknowledged.insert(id);
                if let Some(sent) = self.sent.get_mut(&id) {
                    (sent.partition, sent.offset) = (Some(partition), offset);
                }
            }
            Err(error) => self.failed(error.certainty, &error),
        }
    }

    fn failed(&mut self, certainty: Certainty, error: &dyn std::error::Error) {
        match certainty {
            Certainty::NotWritten => self.produced.not_written += 1,
            Certainty::MaybeWritten => self.produced.possibly_written += 1,
        }
        self.produced.error.get_or_insert_with(|| error.to_string());
    }
}
