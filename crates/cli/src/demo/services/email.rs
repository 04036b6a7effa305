//! E-mails, which are sent in chunks.

use std::sync::{Arc, Mutex};

use milena::{AutoOffsetReset, ConsumedRecord};
use milena_patterns::{BatchError, BatchHandler, ParallelBatches, RunError, RunReport, Shutdown};
use milena_schema_registry::AvroDecoder;
use tokio::task::JoinHandle;

use super::{GroupOutcome, Seen, Shop, now_us, until};
use crate::demo::{
    board::{Service, locked},
    order::{Order, OrderCreated},
};

/// How many mails go out at once at most.
pub(crate) const CHUNK: usize = 50;

/// Sends a mail for every order, in chunks of orders of a partition.
pub(crate) struct Email {
    mailing: Arc<Mailing>,
    shutdown: Shutdown,
    running: JoinHandle<Result<RunReport, RunError>>,
}

struct Mailing {
    shop: Arc<Shop>,
    decoder: Arc<AvroDecoder<OrderCreated>>,
    sent: Mutex<Mails>,
}

struct Mails {
    seen: Seen,
    largest_chunk: usize,
}

/// The mailing, as the pattern wants it.
struct Handling(Arc<Mailing>);

impl Email {
    pub(crate) async fn start(shop: Arc<Shop>) -> anyhow::Result<Self> {
        let decoder = shop.schemas.decoder(OrderCreated::READER).await?;
        let consumer = shop
            .client
            .consumer(shop.names.group(Service::Email.name()))
            .subscribe([shop.names.orders()])
            .auto_offset_reset(AutoOffsetReset::Earliest);
        let batches = ParallelBatches::new(consumer, shop.client.producer().build()?).chunk(CHUNK);
        let sent = Mutex::new(Mails { seen: Seen::new(shop.plan.orders)?, largest_chunk: 0 });
        let mailing = Arc::new(Mailing { shop, decoder, sent });
        let shutdown = Shutdown::new();
        let (handling, end) = (Handling(Arc::clone(&mailing)), shutdown.clone());
        let running = tokio::spawn(async move { batches.run(handling, &end).await });
        Ok(Self { mailing, shutdown, running })
    }

    /// Ends when mails for so many orders were sent, or nothing happens any more. With the size of the largest chunk.
    pub(crate) async fn finish(self, orders: u64) -> anyhow::Result<(GroupOutcome, usize)> {
        let Self { mailing, shutdown, running } = self;
        let shop = &mailing.shop;
        let sent = || locked(&mailing.sent).seen.ledger.distinct();
        let is_done = until(shop.patience, || running.is_finished(), || (sent(), sent() >= orders)).await;
        let moved = shop.endpoint.moved(&shop.names.group(Service::Email.name())).await?;
        shutdown.begin();
        let ended = running.await?.err().map(|error| error.to_string());
        let error =
            ended.or_else(|| (!is_done).then(|| format!("{} mails after {:?}", sent(), shop.patience)));
        let mut mails = locked(&mailing.sent);
        let seen = std::mem::replace(&mut mails.seen, Seen::new(0)?);
        Ok((GroupOutcome { seen, moved, error }, mails.largest_chunk))
    }
}

impl BatchHandler for Handling {
    async fn handle(&self, records: Vec<ConsumedRecord>) -> Result<(), BatchError> {
        let Mailing { shop, decoder, sent } = &*self.0;
        let mut opened = Vec::with_capacity(records.len());
        for record in &records {
            let (key, value) = (record.key().map(|key| &key[..]), record.value().map(|value| &value[..]));
            opened.push(shop.open(decoder, key, value, record.headers().iter()).await);
        }
        let now = now_us();
        let mut mails = locked(sent);
        mails.largest_chunk = mails.largest_chunk.max(records.len());
        mails.seen.hand_out(shop.names.orders(), records.len() as u64);
        for arrived in &opened {
            mails.seen.note(shop.plan, arrived.as_ref(), now);
        }
        shop.board.set_done(Service::Email, mails.seen.ledger.distinct());
        Ok(())
    }
}
