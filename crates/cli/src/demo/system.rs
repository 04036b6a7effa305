//! The order system from its beginning to its end, and what is claimed of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use milena::{Admin, AdminError, Client, Codec, ErrorCode, NewTopic};
use milena_patterns::{Redrive, Shutdown};
use tokio::task::JoinHandle;

use super::{
    audit::{Auditor, Book, Letters, Unread},
    bits::Bits,
    board::Service,
    claims::{self, Claim, Counted},
    metrics::Samples,
    names::Names,
    plan::{DELAYS, Writer},
    report::{GroupRow, ProducedRow},
    schemas::Refusal,
    services::{
        self, Email, GroupOutcome, Inventory, OrderService, Ordered, Paid, Produced, Sent, Shop, Stock,
    },
};
use crate::advised::advised;

/// Partitions of the topics beside that of the orders.
const PARTITIONS: i32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was ordered.
struct Orders {
    acknowledged: Bits,
    /// Those that are to be dead letters, as they were sent.
    sent: BTreeMap<u64, Sent>,
    v1: Produced,
    v2: Produced,
}

/// The services that read while orders are made.
struct Readers {
    inventory: Inventory,
    email: Email,
    analytics: JoinHandle<anyhow::Result<GroupOutcome>>,
    payment: JoinHandle<anyhow::Result<Paid>>,
}

/// What all of them found.
struct Outcome {
    refusal: Refusal,
    orders: Orders,
    inventory: GroupOutcome,
    stock: Stock,
    email: GroupOutcome,
    largest_chunk: usize,
    analytics: GroupOutcome,
    replay: GroupOutcome,
    paid: Paid,
    letters: Letters,
    sent_back: u64,
    books: [Book; 3],
    unread: BTreeMap<String, Unread>,
    /// What the audit read of each topic.
    audited: BTreeMap<String, u64>,
    samples: Samples,
}

/// What a report is made of.
pub(crate) struct Findings {
    pub(crate) produced: ProducedRow,
    pub(crate) groups: Vec<GroupRow>,
    pub(crate) claims: Vec<Claim>,
}

/// Runs everything, and counts.
pub(crate) async fn run(
    shop: &Arc<Shop>,
    refusal: Refusal,
    rate: Option<u64>,
    compression: Codec,
) -> anyhow::Result<Findings> {
    let readers = Readers::start(shop).await?;
    readers.have_joined(shop).await?;
    let orders = order(shop, rate, compression).await?;
    let outcome = Outcome::of(shop, refusal, orders, readers).await?;
    Ok(outcome.findings(shop))
}

/// Creates all topics, and waits until every partition has a leader that all brokers may know of.
pub(crate) async fn create_topics(client: &Client, names: &Names, partitions: i32) -> anyhow::Result<()> {
    let admin = client.admin();
    let orders = create_topic(&admin, names.orders(), partitions).await;
    orders.map_err(|error| match error.code() {
        Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
            advised(error, "name another one with --topic, or leave --topic out")
        }
        _ => error.into(),
    })?;
    let retries = (1..=DELAYS.len()).map(|n| names.retry(n)).chain([names.dead_letters()]);
    let all: Vec<_> = retries.chain(names.books()).collect();
    for topic in &all {
        create_topic(&admin, topic, PARTITIONS).await?;
    }
    for topic in all.iter().map(String::as_str).chain([names.orders()]) {
        is_ready(&admin, topic)
            .await
            .with_context(|| format!("{topic} was created and does not become ready"))?;
    }
    Ok(())
}

async fn create_topic(admin: &Admin, topic: &str, partitions: i32) -> Result<(), AdminError> {
    admin.create_topic(NewTopic::new(topic).partitions(partitions)).await.map(drop)
}

async fn is_ready(admin: &Admin, topic: &str) -> Result<(), AdminError> {
    let mut ready = admin.partition_count(topic).await;
    for _ in 0..100 {
        if ready.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        ready = admin.partition_count(topic).await;
    }
    ready.map(drop)
}

impl Readers {
    async fn start(shop: &Arc<Shop>) -> anyhow::Result<Self> {
        Ok(Self {
            inventory: Inventory::start(Arc::clone(shop)).await?,
            email: Email::start(Arc::clone(shop)).await?,
            analytics: tokio::spawn(services::analytics(Arc::clone(shop))),
            payment: tokio::spawn(services::payment(Arc::clone(shop))),
        })
    }

    /// Latencies are those of groups that are there, not the time it takes to join. One that does not come is found by
    /// what it reads.
    async fn have_joined(&self, shop: &Shop) -> anyhow::Result<()> {
        let begun = Instant::now();
        for service in [Service::Inventory, Service::Email, Service::Analytics, Service::Payment] {
            let group = shop.names.group(service.name());
            while shop.endpoint.assigned(&group).await? == 0 && begun.elapsed() < shop.patience {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

/// Both order services, side by side.
async fn order(shop: &Arc<Shop>, rate: Option<u64>, compression: Codec) -> anyhow::Result<Orders> {
    let mut running = Vec::new();
    for writer in [Writer::V1, Writer::V2] {
        let service = OrderService::new(Arc::clone(shop), writer, rate, compression).await?;
        running.push(tokio::spawn(service.run()));
    }
    let mut ordered = Vec::new();
    for service in running {
        ordered.push(service.await.context("an order service has panicked")??);
    }
    let mut ordered = ordered.into_iter();
    let (Some(v1), Some(v2)) = (ordered.next(), ordered.next()) else {
        anyhow::bail!("a service is missing")
    };
    let Ordered { mut acknowledged, mut sent, produced: v1 } = v1;
    acknowledged.add(&v2.acknowledged);
    sent.extend(v2.sent);
    // What was not acknowledged need not be there.
    sent.retain(|id, _| acknowledged.contains(*id));
    Ok(Orders { acknowledged, sent, v1, v2: v2.produced })
}

impl Outcome {
    /// Lets the readers come to their ends, brings the dead letters back, lets a late reader read everything, and audits.
    async fn of(
        shop: &Arc<Shop>,
        refusal: Refusal,
        orders: Orders,
        readers: Readers,
    ) -> anyhow::Result<Self> {
        let Readers { inventory, email, analytics, payment } = readers;
        let count = orders.acknowledged.count();
        let analytics = analytics.await.context("analytics has panicked")??;
        let (email, largest_chunk) = email.finish(count).await.context("e-mail")?;
        let paid = payment.await.context("payment has panicked")??;

        let mut auditor = Auditor::new(shop);
        if inventory.settle(count).await {
            auditor.await_letters(orders.sent.len() as u64).await?;
        }
        let letters = auditor.letters(&orders.sent).await.context("reading the dead letters")?;
        inventory.restock();
        let sent_back = send_back(shop).await?;
        let (inventory, stock) = inventory.finish(count).await.context("inventory")?;

        let replay = services::replay(Arc::clone(shop)).await?;
        let books = auditor.books(&paid).await.context("reading the payments")?;
        let unread = unread(shop, &mut auditor).await.context("asking how far groups are behind")?;
        let audited = auditor.handed;
        let samples = shop.endpoint.scrape().await?;
        Ok(Self {
            refusal,
            orders,
            inventory,
            stock,
            email,
            largest_chunk,
            analytics,
            replay,
            paid,
            letters,
            sent_back,
            books,
            unread,
            audited,
            samples,
        })
    }

    fn findings(&self, shop: &Shop) -> Findings {
        let Orders { acknowledged, v1, v2, .. } = &self.orders;
        let rows = self.readers().map(|(service, outcome)| {
            let findings = outcome.seen.findings(acknowledged);
            GroupRow::new(service.name(), &findings, outcome, service == Service::Replay)
        });
        Findings {
            produced: ProducedRow::new(v1, v2, acknowledged),
            groups: rows.into(),
            claims: self.claims(shop),
        }
    }

    fn readers(&self) -> [(Service, &GroupOutcome); 4] {
        [
            (Service::Inventory, &self.inventory),
            (Service::Email, &self.email),
            (Service::Analytics, &self.analytics),
            (Service::Replay, &self.replay),
        ]
    }

    fn claims(&self, shop: &Shop) -> Vec<Claim> {
        let Orders { acknowledged, sent, v1, v2 } = &self.orders;
        let (plan, moved) = (shop.plan, self.inventory.moved);
        let maybe = v1.possibly_written + v2.possibly_written;
        let error = v1.error.clone().or_else(|| v2.error.clone());
        let mut claims =
            vec![claims::unfit_schema(&self.refusal), claims::acknowledged(plan, acknowledged, maybe, error)];
        for (service, outcome) in self.readers() {
            let findings = outcome.seen.findings(acknowledged);
            let claim = claims::group(service.name(), &findings, outcome.moved, outcome.error.as_ref());
            claims.push(match service {
                Service::Inventory => {
                    claim.precisely("in order by first tries: one that is put aside is overtaken")
                }
                _ => claim,
            });
            let of_v2 = outcome.seen.of_v2();
            claims.push(match service {
                Service::Analytics => claims::old_reader(service.name(), &findings, of_v2, v2.orders),
                _ => claims::coupons(service.name(), &findings, of_v2, outcome.seen.wrong_coupons()),
            });
        }
        claims.extend([
            claims::chunks(self.largest_chunk),
            claims::retries(plan, acknowledged, &self.stock),
            claims::dead_letters(&self.letters, sent.len() as u64, moved),
            claims::restocked(&self.letters, self.sent_back, acknowledged, &self.stock, moved),
            claims::payments(plan, acknowledged, &self.books, self.paid.error.as_ref()),
            claims::aborted(&self.paid, &self.books),
            claims::metrics("metrics count what was produced", &self.produced(&shop.names), &self.samples),
            claims::metrics("metrics count what was consumed", &self.consumed(&shop.names), &self.samples),
            claims::lag(&self.unread),
        ]);
        claims
    }

    /// What was acknowledged, by the counts of the services.
    fn produced(&self, names: &Names) -> Vec<Counted> {
        let counted =
            |topic: &str, own| Counted { topic: topic.to_owned(), group: None, own, may_exceed: false };
        let mut all = vec![counted(names.orders(), self.orders.acknowledged.count())];
        all.extend(self.paid.written.iter().map(|(topic, own)| counted(topic, *own)));
        // A try that failed when its partition was taken away may have left a letter or not.
        if self.inventory.moved == 0 {
            let topics = (1..=DELAYS.len()).map(|n| names.retry(n)).chain([names.dead_letters()]);
            for ((topic, failed), n) in topics.zip(self.stock.failed).zip(1..) {
                all.push(counted(&topic, failed + if n == 1 { self.sent_back } else { 0 }));
            }
        }
        all
    }

    /// What was handed out, by the counts of the services.
    fn consumed(&self, names: &Names) -> Vec<Counted> {
        let counted = |topic: &str, group: String, own, may_exceed| Counted {
            topic: topic.to_owned(),
            group: Some(group),
            own,
            may_exceed,
        };
        let mut all = Vec::new();
        for (service, outcome) in self.readers() {
            // Only a runner holds records that its partitions can be taken away from.
            let may_exceed = matches!(service, Service::Inventory | Service::Email) && outcome.moved > 0;
            for (topic, own) in outcome.seen.handed() {
                all.push(counted(topic, names.group(service.name()), *own, may_exceed));
            }
        }
        let payment = names.group(Service::Payment.name());
        all.push(counted(names.orders(), payment, self.paid.handed, false));
        let audited = self.audited.iter();
        all.extend(audited.map(|(topic, own)| counted(topic, String::new(), *own, false)));
        let redrive = format!("{}.redrive", names.dead_letters());
        all.push(counted(&names.dead_letters(), redrive, self.sent_back, false));
        all
    }
}

/// Sends the dead letters back: to the first retry topic, which the inventory alone reads, for the others have seen these orders.
async fn send_back(shop: &Shop) -> anyhow::Result<u64> {
    let redrive = Redrive::new(shop.names.dead_letters()).to(shop.names.retry(1));
    let shutdown = Shutdown::new();
    let sending = redrive.run(&shop.client, &shutdown);
    let sent = tokio::time::timeout(shop.patience, sending).await;
    let report = sent.context("the dead letters were not sent back in time")?;
    let sent = report.context("sending the dead letters back")?.sent;
    shop.board.tell(format!("{sent} dead letters were sent back"));
    Ok(sent)
}

/// How far all groups are behind, once their services have ended.
async fn unread(shop: &Shop, auditor: &mut Auditor<'_>) -> anyhow::Result<BTreeMap<String, Unread>> {
    let mut all = BTreeMap::new();
    for service in Service::ALL.into_iter().filter(|service| service.is_reader()) {
        let group = shop.names.group(service.name());
        let unread = auditor.unread(&group).await.with_context(|| group.clone())?;
        all.insert(group, unread);
    }
    Ok(all)
}
