//! Producers without idempotence under faults that a seed decides: what is promised all the same, and what is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use milena::{Acks, Certainty, Client, ErrorCode, Producer, Record};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
    simulation::{Simulation, World},
};
use milena_protocol::{
    ApiKey,
    records::{Batches, ReadOptions},
};

const LETTERS: u32 = 300;
const PATIENCE: Duration = Duration::from_mins(5);
const SEEDS: std::ops::Range<u64> = 0..8;

/// What came about in all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    acknowledged: usize,
    not_written: usize,
    maybe_written: usize,
    /// Copies beyond the first.
    duplicates: usize,
    /// Letters whose first copy stands behind that of a later one.
    late: usize,
    /// Letters that were told of as sent and are not in the log.
    lost: usize,
}

#[derive(Clone, Copy)]
struct Settings {
    acks: Acks,
    idempotence: bool,
    max_in_flight: usize,
}

async fn producer(world: &World, settings: Settings, timeout: Duration) -> Producer {
    let client = loop {
        let builder = Client::builder(world.bootstrap()).dial_with(world.dial()).seed(world.seed());
        match builder.wall_clock(world.wall_clock()).connect().await {
            Ok(client) => break client,
            Err(error) => world.note(format_args!("no client yet: {error}")),
        }
    };
    let Settings { acks, idempotence, max_in_flight } = settings;
    let builder = client.producer().acks(acks).idempotence(idempotence).max_in_flight(max_in_flight);
    builder.batch_size(70).request_timeout(timeout / 2).delivery_timeout(timeout).build().unwrap()
}

/// The letters of the log, in its order.
fn log(world: &World) -> Vec<u32> {
    let batches = world.broker().with_cluster(|cluster, _| cluster.batches("letters", 0));
    let mut letters = Vec::new();
    for batch in batches {
        let batch = Batches::new(batch).next().unwrap().unwrap();
        let decoded = batch.decode(&ReadOptions::default()).unwrap();
        for record in decoded.records() {
            letters.push(std::str::from_utf8(record.unwrap().value().unwrap()).unwrap().parse().unwrap());
        }
    }
    letters
}

/// Writes letters through the faults and some more after them, and holds what was told against the log.
async fn letters(world: World, settings: Settings, timeout: Duration, seen: Arc<Mutex<Seen>>) {
    if settings.acks != Acks::None {
        // Some answers are lost, and some batches are refused, not those that come with them.
        let lost = Rule::new(ApiKey::Produce, Action::CloseAfter).one_in(8).times(u32::MAX);
        let refused = Action::Answer(ErrorCode::NOT_ENOUGH_REPLICAS);
        world.broker().add_fault(lost);
        world.broker().add_fault(Rule::new(ApiKey::Produce, refused).one_in(2).times(u32::MAX));
    }
    let producer = producer(&world, settings, timeout).await;
    let mut deliveries = Vec::new();
    for number in 0..LETTERS {
        let record = Record::new("letters").partition(0).value(number.to_string());
        // While no broker can be asked the topic is not known.
        let delivery = loop {
            if let Ok(delivery) = producer.enqueue(record.clone()).await {
                break delivery;
            }
        };
        deliveries.push(delivery);
        if number % 5 == 4 {
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
    }
    producer.flush().await.unwrap();
    world.calm().await;
    world.broker().with_cluster(|cluster, _| cluster.faults().clear());
    // What the faults have left behind, such as connections that are broken, is found out by the first.
    let after = Record::new("letters").partition(0);
    let _ = producer.send(after.clone().value(LETTERS.to_string())).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    producer.send(after.value((LETTERS + 1).to_string())).await.unwrap();
    producer.close(PATIENCE).await.unwrap();
    // With acks 0 the last one may be on its way.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let log = log(&world);
    assert_eq!(log.last(), Some(&(LETTERS + 1)), "the producer does not go on");
    let mut first = BTreeMap::new();
    for (offset, letter) in log.iter().enumerate() {
        first.entry(*letter).or_insert(offset);
    }
    let mut now = Seen { duplicates: log.len() - first.len(), ..Seen::default() };
    now.late = first.values().zip(first.values().skip(1)).filter(|(one, next)| one > next).count();
    for (delivery, number) in deliveries.into_iter().zip(0..) {
        match delivery.result().unwrap() {
            Ok(told) => {
                now.acknowledged += 1;
                now.lost += usize::from(!first.contains_key(&number));
                if settings.acks == Acks::None {
                    assert_eq!(told.offset, None);
                } else {
                    let offset = usize::try_from(told.offset.unwrap()).unwrap();
                    assert_eq!(log.get(offset), Some(&number), "at offset {offset}");
                }
            }
            Err(error) if error.certainty == Certainty::NotWritten => {
                now.not_written += 1;
                assert!(!first.contains_key(&number), "{number} is written, and told of as not: {error}");
            }
            Err(error) => {
                now.maybe_written += 1;
                assert_eq!(error.base_sequence.is_some(), settings.idempotence, "{error:?}");
            }
        }
    }
    let mut seen = seen.lock().unwrap();
    seen.acknowledged += now.acknowledged;
    seen.not_written += now.not_written;
    seen.maybe_written += now.maybe_written;
    seen.duplicates += now.duplicates;
    seen.late += now.late;
    seen.lost += now.lost;
}

fn run(settings: Settings, timeout: Duration) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let brokers = EmbeddedBroker::builder().brokers(3).topic("letters", 1);
    Simulation::seeds(SEEDS).run(brokers, |world| letters(world, settings, timeout, Arc::clone(&seen)));
    std::mem::take(&mut *seen.lock().unwrap())
}

const PLAIN: Settings = Settings { acks: Acks::Leader, idempotence: false, max_in_flight: 1 };
const ALL: usize = LETTERS as usize * (SEEDS.end - SEEDS.start) as usize;
const LONG: Duration = Duration::from_mins(10);
const SHORT: Duration = Duration::from_secs(4);

/// Brokers lose nothing here, so that acks 1 is as good as all.
#[test]
fn without_idempotence_what_is_acknowledged_is_there_and_one_in_flight_keeps_the_order() {
    for acks in [Acks::All, Acks::Leader] {
        let seen = run(Settings { acks, ..PLAIN }, LONG);
        assert_eq!((seen.acknowledged, seen.lost, seen.late), (ALL, 0, 0), "acks {acks}: {seen:?}");
        assert!(seen.duplicates > 0, "no answer was lost: {seen:?}");
    }
}

#[test]
fn without_idempotence_what_is_not_written_is_known_from_what_may_be() {
    let seen = run(PLAIN, SHORT);
    assert_eq!((seen.acknowledged + seen.not_written + seen.maybe_written, seen.lost), (ALL, 0), "{seen:?}");
    assert!(seen.not_written > 0 && seen.maybe_written > 0, "{seen:?}");
}

/// What the settings cost, and that the test above would notice.
#[test]
fn without_idempotence_more_in_flight_loses_the_order_and_with_it_nothing_is_lost_at_all() {
    let seen = run(Settings { max_in_flight: 5, ..PLAIN }, LONG);
    assert_eq!((seen.acknowledged, seen.lost), (ALL, 0), "{seen:?}");
    assert!(seen.late > 0, "{seen:?}");
    let seen = run(Settings { acks: Acks::All, idempotence: true, max_in_flight: 5 }, LONG);
    assert_eq!(seen, Seen { acknowledged: ALL, ..Seen::default() });
}

/// P17: what is told of as not written is not, and after the faults the producer goes on; that is all.
#[test]
fn p17_with_acks_0_records_are_lost_and_the_producer_goes_on() {
    let seen = run(Settings { acks: Acks::None, ..PLAIN }, LONG);
    assert_eq!(seen.acknowledged, ALL, "{seen:?}");
    assert!(seen.lost > 0 && seen.lost < ALL / 4, "{seen:?}");
    let seen = run(Settings { acks: Acks::None, ..PLAIN }, SHORT);
    assert_eq!(seen.acknowledged + seen.not_written + seen.maybe_written, ALL, "{seen:?}");
}
