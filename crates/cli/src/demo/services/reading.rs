//! A consumer that reads every order, commits now and then, and counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use milena::{AutoOffsetReset, Consumer};
use milena_schema_registry::AvroDecoder;

use super::{GroupOutcome, Seen, Shop, now_us};
use crate::demo::{board::Service, order::Order};

/// How often a service commits while it reads.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Reads every order in the group of its service, as the schema of `O` has them.
pub(crate) struct Read<O> {
    shop: Arc<Shop>,
    service: Service,
    decoder: Arc<AvroDecoder<O>>,
    seen: Seen,
}

impl<O: Order> Read<O> {
    /// Reads until every order was seen.
    pub(crate) async fn all(shop: Arc<Shop>, service: Service) -> anyhow::Result<GroupOutcome> {
        let decoder = shop.schemas.decoder(O::READER).await?;
        let seen = Seen::new(shop.plan.orders)?;
        let mut read = Self { shop, service, decoder, seen };
        let mut moved = 0;
        let error = read.in_group(&mut moved).await.err().map(|error| format!("{error:#}"));
        Ok(GroupOutcome { seen: read.seen, moved, error })
    }

    async fn in_group(&mut self, moved: &mut u64) -> anyhow::Result<()> {
        let group = self.shop.names.group(self.service.name());
        let consumer = self
            .shop
            .client
            .consumer(group.as_str())
            .subscribe([self.shop.names.orders()])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .max_poll_records(10_000)
            .build()?;
        let outcome = self.from(&consumer).await;
        // What is given up from here on is given up on purpose.
        *moved = self.shop.endpoint.moved(&group).await?;
        let closed = consumer.close(Duration::from_secs(10)).await;
        outcome?;
        Ok(closed?)
    }

    async fn from(&mut self, consumer: &Consumer) -> anyhow::Result<()> {
        let patience = self.shop.patience;
        let (mut last_arrival, mut last_commit) = (Instant::now(), Instant::now());
        while self.seen.ledger.distinct() < self.shop.plan.orders {
            let Some(records) = consumer.poll(Duration::from_secs(1)).await? else {
                anyhow::bail!("the consumer was closed");
            };
            if records.is_empty() {
                if last_arrival.elapsed() > patience {
                    let why = consumer.explain().join("; ");
                    anyhow::bail!("nothing arrived for {patience:?}; {why}");
                }
                continue;
            }
            last_arrival = Instant::now();
            let now = now_us();
            self.seen.hand_out(self.shop.names.orders(), records.len() as u64);
            for record in records.iter() {
                let opened =
                    self.shop.open(&self.decoder, record.key(), record.value(), record.headers()).await;
                self.seen.note(self.shop.plan, opened.as_ref(), now);
            }
            self.shop.board.set_done(self.service, self.seen.ledger.distinct());
            if last_commit.elapsed() > COMMIT_EVERY {
                consumer.commit_async()?;
                last_commit = Instant::now();
            }
        }
        Ok(consumer.commit().await?)
    }
}
