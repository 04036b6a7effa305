//! The inventory: some orders can be reserved at a later try alone, and some not before there is stock again.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use milena::{AutoOffsetReset, ConsumedRecord, IsolationLevel, Producer};
use milena_patterns::{
    DeadLetters, Handler, HandlerError, Order as Keeping, RetryTopics, RunError, RunReport, Runner, Shutdown,
    Tries,
};
use milena_schema_registry::AvroDecoder;
use tokio::task::JoinHandle;

use super::{GroupOutcome, Seen, Shop, now_us, until};
use crate::demo::{
    bits::Bits,
    board::{Event, Service, locked},
    names::Names,
    order::{Order, OrderCreated},
    plan::{DELAYS, Fate},
};

/// How many orders are reserved side by side.
const CONCURRENCY: usize = 16;
/// An order is in the topic of all orders or in one of the retry topics.
const STAGES: usize = DELAYS.len() + 1;

/// Reserves what is ordered: orders of a customer one after the other, each once in its place and then in retry topics.
pub(crate) struct Inventory {
    shelves: Arc<Shelves>,
    shutdown: Shutdown,
    running: JoinHandle<Result<RunReport, RunError>>,
}

/// What became of the orders at the inventory.
#[derive(Clone, Debug)]
pub(crate) struct Stock {
    pub(crate) reserved: Bits,
    /// Times an order was to be reserved that was already.
    pub(crate) again: u64,
    /// Late orders that were reserved at the try that was planned, and at another one.
    pub(crate) late: u64,
    pub(crate) late_otherwise: u64,
    /// Orders that went into the last retry topic and failed there.
    pub(crate) dead: Bits,
    /// Tries that failed, by how often the order had been put aside before.
    pub(crate) failed: [u64; STAGES],
}

struct Shelves {
    shop: Arc<Shop>,
    decoder: Arc<AvroDecoder<OrderCreated>>,
    is_restocked: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// First tries.
    seen: Seen,
    stock: Stock,
}

/// The shelves, as the runner wants them.
struct Handling(Arc<Shelves>);

/// Where orders wait that could not be reserved.
fn retry_topics(names: &Names, producer: Producer) -> RetryTopics {
    RetryTopics::new(names.orders(), producer.clone(), DeadLetters::new(producer)).delays(DELAYS)
}

impl Inventory {
    pub(crate) async fn start(shop: Arc<Shop>) -> anyhow::Result<Self> {
        let decoder = shop.schemas.decoder(OrderCreated::READER).await?;
        let retries = retry_topics(&shop.names, shop.client.producer().build()?);
        let consumer = shop
            .client
            .consumer(shop.names.group(Service::Inventory.name()))
            .subscribe(retries.topics())
            .auto_offset_reset(AutoOffsetReset::Earliest)
            // Dead letters come back in transactions.
            .isolation_level(IsolationLevel::ReadCommitted);
        let runner = Runner::new(consumer)
            .concurrency(CONCURRENCY)
            .order(Keeping::Key)
            .tries(Tries::new(1))
            .fallback(retries);
        let orders = shop.plan.orders;
        let state = Mutex::new(State { seen: Seen::new(orders)?, stock: Stock::new(orders) });
        let shelves = Arc::new(Shelves { shop, decoder, is_restocked: AtomicBool::new(false), state });
        let shutdown = Shutdown::new();
        let (handling, end) = (Handling(Arc::clone(&shelves)), shutdown.clone());
        let running = tokio::spawn(async move { runner.run(handling, &end).await });
        Ok(Self { shelves, shutdown, running })
    }

    /// Waits until each of so many orders is reserved or was given up. False when nothing happens any more.
    pub(crate) async fn settle(&self, orders: u64) -> bool {
        let settled = || {
            let state = locked(&self.shelves.state);
            state.stock.reserved.count() + state.stock.dead.without(&state.stock.reserved)
        };
        let is_over = || self.running.is_finished();
        until(self.shelves.shop.patience, is_over, || (settled(), settled() >= orders)).await
    }

    /// There is stock again: from here on every order can be reserved.
    pub(crate) fn restock(&self) {
        self.shelves.is_restocked.store(true, Ordering::Relaxed);
    }

    /// Ends when so many orders are reserved, or nothing happens any more.
    pub(crate) async fn finish(self, orders: u64) -> anyhow::Result<(GroupOutcome, Stock)> {
        let Self { shelves, shutdown, running } = self;
        let shop = &shelves.shop;
        let reserved = || locked(&shelves.state).stock.reserved.count();
        let is_done =
            until(shop.patience, || running.is_finished(), || (reserved(), reserved() >= orders)).await;
        let moved = shop.endpoint.moved(&shop.names.group(Service::Inventory.name())).await?;
        shutdown.begin();
        let ended = running.await?.err().map(|error| error.to_string());
        let error = ended
            .or_else(|| (!is_done).then(|| format!("{} reserved after {:?}", reserved(), shop.patience)));
        let mut state = locked(&shelves.state);
        let seen = std::mem::replace(&mut state.seen, Seen::new(0)?);
        Ok((GroupOutcome { seen, moved, error }, state.stock.clone()))
    }
}

impl Handler for Handling {
    async fn handle(&self, record: ConsumedRecord) -> Result<(), HandlerError> {
        let Shelves { shop, decoder, is_restocked, state } = &*self.0;
        let (key, value) = (record.key().map(|key| &key[..]), record.value().map(|value| &value[..]));
        let arrived = shop.open(decoder, key, value, record.headers().iter()).await;
        let put_aside = shop.names.put_aside(record.topic());
        let now = now_us();
        let mut state = locked(state);
        state.seen.hand_out(record.topic(), 1);
        if put_aside == 0 || arrived.is_none() {
            state.seen.note(shop.plan, arrived.as_ref(), now);
        }
        // It is counted, and no try can help.
        let Some(arrived) = arrived else { return Ok(()) };
        let id = arrived.order.order_id;
        let fate = shop.plan.fate(id);
        let is_reserved = state.stock.attempt(id, fate, put_aside, is_restocked.load(Ordering::Relaxed));
        shop.board.set_done(Service::Inventory, state.stock.reserved.count());
        drop(state);
        if is_reserved {
            return Ok(());
        }
        if put_aside < DELAYS.len() {
            shop.board.happened(Event::Retried);
        } else {
            shop.board.happened(Event::DeadLetter);
            shop.board.tell(format!("order {id} is a dead letter after {STAGES} tries"));
        }
        Err("out of stock".into())
    }
}

impl Stock {
    pub(crate) fn new(orders: u64) -> Self {
        Self {
            reserved: Bits::new(orders),
            again: 0,
            late: 0,
            late_otherwise: 0,
            dead: Bits::new(orders),
            failed: [0; STAGES],
        }
    }

    /// Tries to reserve an order that was put aside so often. False when there is no stock for it.
    fn attempt(&mut self, id: u64, fate: Fate, put_aside: usize, is_restocked: bool) -> bool {
        let has_stock = match fate {
            Fate::Reserved => true,
            Fate::Late(n) => put_aside >= n,
            Fate::Dead => is_restocked,
        };
        if !has_stock {
            if let Some(failed) = self.failed.get_mut(put_aside) {
                *failed += 1;
            }
            if put_aside == DELAYS.len() {
                self.dead.insert(id);
            }
            return false;
        }
        if !self.reserved.insert(id) {
            self.again += 1;
        } else if let Fate::Late(n) = fate {
            match put_aside == n {
                true => self.late += 1,
                false => self.late_otherwise += 1,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_reserved_when_its_time_has_come() {
        let mut stock = Stock::new(10);
        assert!(stock.attempt(0, Fate::Reserved, 0, false));
        assert!(!stock.attempt(1, Fate::Late(2), 0, false) && !stock.attempt(1, Fate::Late(2), 1, false));
        assert!(stock.attempt(1, Fate::Late(2), 2, false));
        assert!((0..4).all(|n| !stock.attempt(2, Fate::Dead, n, false)));
        assert_eq!((stock.late, stock.dead.count(), stock.failed), (1, 1, [2, 2, 1, 1]));
        assert!(stock.attempt(2, Fate::Dead, 1, true) && stock.attempt(2, Fate::Dead, 1, true));
        assert_eq!((stock.reserved.count(), stock.again, stock.late_otherwise), (3, 1, 0));
    }
}
