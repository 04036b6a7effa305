//! Payments: each writes to three topics in one transaction with the offsets of the orders it was made for.
//!
//! The gateway fails after the records were sent, so the transaction is a matter of the producer itself: `ExactlyOnce` of the
//! patterns can fail before it sends, and afterwards by the cluster's doing alone.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use milena::{
    AutoOffsetReset, ConsumedRecord, Consumer, Delivery, GroupMetadata, IsolationLevel, Position, Record,
    Remedy, SeekTo, TopicPartition, Transaction, TransactionError, TransactionalProducer,
};
use milena_schema_registry::AvroDecoder;
use serde::{Deserialize, Serialize};

use super::{Shop, now_us};
use crate::demo::{
    bits::Bits,
    board::{Event, Service},
    order::{Order, OrderCreated},
};

/// How many payments a transaction has at most.
const MOST_PAYMENTS: usize = 50;
/// How often a transaction is tried that the cluster lets down.
const MOST_FAILURES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What is written for a payment, to each of the three topics.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) order_id: u64,
    /// Which try to commit it belongs to.
    pub(crate) transaction: u64,
    pub(crate) amount: u64,
}

/// What the payment service did.
#[derive(Debug)]
pub(crate) struct Paid {
    /// Orders whose transaction is committed.
    pub(crate) paid: Bits,
    pub(crate) committed: u64,
    /// The transactions that were aborted as the gateway failed, and those that the cluster let down.
    pub(crate) declined: HashSet<u64>,
    pub(crate) broken: HashSet<u64>,
    /// Records for each topic that were acknowledged, in whatever transaction; and of them those of declined ones.
    pub(crate) written: BTreeMap<String, u64>,
    pub(crate) declined_records: u64,
    /// How many orders the group was given.
    pub(crate) handed: u64,
    /// Records that are no orders of this run.
    foreign: u64,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
}

/// A payment that is to be made.
struct Due {
    record: ConsumedRecord,
    order: OrderCreated,
}

/// How a transaction ended.
enum End {
    Committed,
    Declined,
    /// It is not committed, and another one may be.
    Broken(String),
}

struct Payment {
    shop: Arc<Shop>,
    decoder: Arc<AvroDecoder<OrderCreated>>,
    producer: TransactionalProducer,
    consumer: Consumer,
    group: String,
    /// Orders whose payment has failed once.
    failed: Bits,
    transactions: u64,
    paid: Paid,
    /// Where the group goes on in each partition, once the next transaction is committed.
    behind: BTreeMap<TopicPartition, Position>,
}

/// Pays the orders that the plan says. All others are read as well, so that the group ends where the topic does.
pub(crate) async fn payment(shop: Arc<Shop>) -> anyhow::Result<Paid> {
    let group = shop.names.group(Service::Payment.name());
    let producer = shop.client.transactional_producer(shop.names.transactional_id()).build().await?;
    let consumer = shop
        .client
        .consumer(group.as_str())
        .subscribe([shop.names.orders()])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        // Few of them are paid, and a transaction is about what came together.
        .max_poll_records(10_000)
        .build()?;
    let decoder = shop.schemas.decoder(OrderCreated::READER).await?;
    let (failed, paid) = (Bits::new(shop.plan.orders), Paid::new(shop.plan.orders));
    let behind = BTreeMap::new();
    let mut payment =
        Payment { shop, decoder, producer, consumer, group, failed, transactions: 0, paid, behind };
    let ended = payment.until_all_are_paid().await;
    let foreign = payment.paid.foreign;
    let is_foreign = || (foreign > 0).then(|| format!("{foreign} records are none of its orders"));
    payment.paid.error = ended.err().map(|error| format!("{error:#}")).or_else(is_foreign);
    payment.consumer.close(Duration::from_secs(10)).await?;
    payment.producer.close(Duration::from_secs(10)).await?;
    Ok(payment.paid)
}

impl Paid {
    pub(crate) fn new(orders: u64) -> Self {
        Self {
            paid: Bits::new(orders),
            committed: 0,
            declined: HashSet::new(),
            broken: HashSet::new(),
            written: BTreeMap::new(),
            declined_records: 0,
            handed: 0,
            foreign: 0,
            error: None,
        }
    }
}

impl Payment {
    async fn until_all_are_paid(&mut self) -> anyhow::Result<()> {
        let (plan, patience) = (self.shop.plan, self.shop.patience);
        // Every order once, whether it is paid or not.
        let mut read = Bits::new(plan.orders);
        let mut last_arrival = Instant::now();
        while self.paid.paid.count() < plan.payments || read.count() < plan.orders {
            let Some(records) = self.consumer.poll(Duration::from_secs(1)).await? else {
                anyhow::bail!("the consumer was closed");
            };
            if records.is_empty() {
                if last_arrival.elapsed() > patience {
                    let why = self.consumer.explain().join("; ");
                    anyhow::bail!("nothing arrived for {patience:?}; {why}");
                }
                continue;
            }
            last_arrival = Instant::now();
            self.paid.handed += records.len() as u64;
            // The membership under which they were read: a later one may not have their partitions.
            let Some(group) = self.consumer.group_metadata() else { continue };
            let records: Vec<_> = records.iter().map(|record| record.to_record()).collect();
            self.pay_for(&group, records, &mut read).await?;
            self.shop.board.set_done(Service::Payment, self.paid.paid.count());
        }
        self.commit_rest().await
    }

    /// Pays for those of these records that are to be paid, in transactions. What a transaction can't commit is read again.
    async fn pay_for(
        &mut self,
        group: &GroupMetadata,
        records: Vec<ConsumedRecord>,
        read: &mut Bits,
    ) -> anyhow::Result<()> {
        let mut due = Vec::new();
        for record in records {
            let (key, value) = (record.key().map(|key| &key[..]), record.value().map(|value| &value[..]));
            let arrived = self.shop.open(&self.decoder, key, value, record.headers().iter()).await;
            let (partition, position) = record.next_position();
            self.behind.insert(partition, position);
            let Some(order) = arrived.map(|arrived| arrived.order) else {
                self.paid.foreign += 1;
                continue;
            };
            read.insert(order.order_id);
            if self.shop.plan.is_paid(order.order_id) {
                due.push(Due { record, order });
            }
            if due.len() == MOST_PAYMENTS && !self.pay(group, &mut due).await? {
                return Ok(());
            }
        }
        if !due.is_empty() {
            self.pay(group, &mut due).await?;
        }
        Ok(())
    }

    /// Pays for these. False when they are to be read again, with all that came behind them.
    async fn pay(&mut self, group: &GroupMetadata, due: &mut Vec<Due>) -> anyhow::Result<bool> {
        let mut failures = 0;
        loop {
            self.transactions += 1;
            let number = self.transactions;
            match self.transaction(group, due, number).await? {
                End::Committed => {
                    self.paid.committed += 1;
                    self.shop.board.happened(Event::Committed);
                    for Due { order, .. } in due.drain(..) {
                        self.paid.paid.insert(order.order_id);
                    }
                    return Ok(true);
                }
                End::Declined => {
                    self.paid.declined.insert(number);
                    self.shop.board.happened(Event::Aborted);
                    let payments = due.len();
                    self.shop.board.tell(format!("transaction {number} of {payments} payments was aborted"));
                }
                End::Broken(why) => {
                    self.paid.broken.insert(number);
                    self.shop.board.tell(format!("transaction {number} is broken: {why}"));
                    failures += 1;
                    anyhow::ensure!(
                        failures < MOST_FAILURES,
                        "{failures} transactions in a row broke: {why}"
                    );
                    tokio::time::sleep(PAUSE).await;
                    if self.consumer.group_metadata().as_ref() != Some(group) {
                        self.go_back().await?;
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Goes back to what is committed, where partitions are still the consumer's; where not, their reader begins there anyway.
    async fn go_back(&mut self) -> anyhow::Result<()> {
        self.behind.clear();
        let partitions = self.consumer.assignment();
        let committed = self.shop.client.admin().group_offsets(self.group.as_str()).await?;
        for partition in partitions {
            let to = match committed.get(&partition) {
                Some(offset) => SeekTo::Offset(offset.as_ref().map_err(Clone::clone)?.position.offset),
                None => SeekTo::Beginning,
            };
            // It may have gone meanwhile.
            let _ = self.consumer.seek(&partition, to);
        }
        Ok(())
    }

    async fn transaction(&mut self, group: &GroupMetadata, due: &[Due], number: u64) -> anyhow::Result<End> {
        let is_declined = due.iter().any(|due| {
            let id = due.order.order_id;
            self.shop.plan.is_declined(id) && !self.failed.contains(id)
        });
        let transaction = self.producer.begin()?;
        let (written, outcome) = write(&transaction, &self.shop.names.books(), due, number).await;
        let records = written.values().sum::<u64>();
        for (topic, count) in written {
            *self.paid.written.entry(topic).or_default() += count;
        }
        if let Err(why) = outcome {
            return Ok(aborted(transaction.abort().await)?.unwrap_or(End::Broken(why)));
        }
        if is_declined {
            for Due { order, .. } in due {
                self.failed.insert(order.order_id);
            }
            let broken = aborted(transaction.abort().await)?;
            // Of a broken one, it is not known what is in the log.
            self.paid.declined_records += if broken.is_none() { records } else { 0 };
            return Ok(broken.unwrap_or(End::Declined));
        }
        match transaction.send_offsets(group, self.behind.clone()).await {
            Ok(()) => {}
            Err(error) => {
                return Ok(aborted(transaction.abort().await)?.unwrap_or(End::Broken(error.to_string())));
            }
        }
        let committed = transaction.commit().await;
        self.find_out(committed).await
    }

    /// Whether a transaction is committed, also when its coordinator did not say.
    async fn find_out(&mut self, mut committed: Result<(), TransactionError>) -> anyhow::Result<End> {
        let deadline = Instant::now() + self.shop.patience;
        loop {
            match committed {
                Ok(()) => {
                    self.behind.clear();
                    return Ok(End::Committed);
                }
                Err(error) if error.remedy() == Remedy::CommitAgain && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                    committed = self.producer.commit_again().await;
                }
                Err(error) if matches!(error.remedy(), Remedy::CommitAgain | Remedy::NewProducer) => {
                    return Err(error.into());
                }
                Err(error) => return Ok(End::Broken(error.to_string())),
            }
        }
    }

    /// Commits that the orders at the end were read, of which none is paid.
    async fn commit_rest(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.shop.patience;
        while !self.behind.is_empty() {
            let Some(group) = self.consumer.group_metadata() else { return Ok(()) };
            self.transactions += 1;
            if let End::Broken(why) = self.transaction(&group, &[], self.transactions).await? {
                anyhow::ensure!(Instant::now() < deadline, "the last offsets are not committed: {why}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Writes what belongs to these payments, and waits until it is acknowledged. With how much of it was, topic by topic.
async fn write(
    transaction: &Transaction<'_>,
    books: &[String; 3],
    due: &[Due],
    number: u64,
) -> (BTreeMap<String, u64>, Result<(), String>) {
    let mut open: Vec<(&String, Delivery)> = Vec::with_capacity(due.len() * books.len());
    let mut outcome = Ok(());
    'all: for Due { record, order } in due {
        let entry = Entry { order_id: order.order_id, transaction: number, amount: order.total_amount };
        for book in books {
            match enqueue(transaction, book, record, &entry).await {
                Ok(delivery) => open.push((book, delivery)),
                Err(why) => {
                    outcome = Err(why);
                    break 'all;
                }
            }
        }
    }
    if let Err(error) = transaction.flush().await {
        outcome = outcome.and(Err(error.to_string()));
    }
    let mut written = BTreeMap::new();
    for (book, delivery) in open {
        match delivery.await {
            Ok(_) => *written.entry(book.clone()).or_default() += 1,
            Err(error) => outcome = outcome.and(Err(error.to_string())),
        }
    }
    (written, outcome)
}

async fn enqueue(
    transaction: &Transaction<'_>,
    book: &str,
    record: &ConsumedRecord,
    entry: &Entry,
) -> Result<Delivery, String> {
    let value = serde_json::to_vec(entry).map_err(|error| error.to_string())?;
    let made = Record::new(book).value(value).header("paidAt", now_us().to_string());
    let made = match record.key() {
        Some(key) => made.key(key.clone()),
        None => made,
    };
    transaction.enqueue(made).await.map_err(|error| error.to_string())
}

/// Nothing when a transaction was aborted in order.
fn aborted(ended: Result<(), TransactionError>) -> anyhow::Result<Option<End>> {
    match ended {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.remedy(), Remedy::NewProducer | Remedy::CommitAgain) => {
            Err(error.into())
        }
        Err(error) => Ok(Some(End::Broken(error.to_string()))),
    }
}
