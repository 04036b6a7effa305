//! Records are handled at least once, in the order that was asked for, and offsets are committed behind them alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{SOON, Seen, Stage, header, number, text};
use milena::{ConsumedRecord, IsolationLevel, RebalanceContext, RebalanceListener, Record, TopicPartition};
use milena_patterns::{
    AtLeastOnce, BatchError, DeadLetters, HandlerError, Order, ParallelBatches, Reason, Run, RunError,
    Runner, Shutdown, Tries,
};
use tokio::time::timeout;

const BRIEF: Duration = Duration::from_millis(20);

fn quickly(runner: Runner) -> Runner {
    runner.tries(Tries::new(3).backoff(BRIEF, BRIEF)).commit_interval(Duration::from_millis(50))
}

/// Handlers of one key never overlap, and see their records in order; handlers of different keys do overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_key_in_order_and_side_by_side() {
    let stage = Stage::new().await;
    stage.topic("orders", 3).await;
    stage.fill("orders", 0..700).await;
    let (seen, running, most) =
        (Seen::default(), Arc::<Mutex<BTreeSet<String>>>::default(), Arc::new(AtomicUsize::new(0)));
    let shutdown = Shutdown::new();
    let handler = {
        let (seen, running, most, shutdown) =
            (seen.clone(), Arc::clone(&running), Arc::clone(&most), shutdown.clone());
        move |record: ConsumedRecord| {
            let (seen, running, most, shutdown) =
                (seen.clone(), Arc::clone(&running), Arc::clone(&most), shutdown.clone());
            async move {
                let key = String::from_utf8(record.key().unwrap().to_vec())?;
                assert!(running.lock().unwrap().insert(key.clone()), "{key} is handled twice at once");
                most.fetch_max(running.lock().unwrap().len(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
                running.lock().unwrap().remove(&key);
                if seen.push(record) == 700 {
                    shutdown.begin();
                }
                Ok(())
            }
        }
    };
    let runner = quickly(Runner::new(stage.consumer("g", &["orders"]))).concurrency(16).order(Order::Key);
    let report = timeout(SOON, runner.run(handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.handled, report.retried, report.given_up), (700, 0, 0));
    let mut by_key: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for record in seen.all() {
        by_key.entry(record.key().unwrap().clone()).or_default().push(number(&record));
    }
    assert_eq!(by_key.len(), 7);
    for (key, numbers) in by_key {
        assert!(numbers.is_sorted() && numbers.len() == 100, "{key:?}: {numbers:?}");
    }
    assert!(most.load(Ordering::Relaxed) > 3, "handlers hardly overlap: {most:?}");
    assert_eq!(stage.committed("g").await, 700);
}

/// What one process has committed is never behind a record that it had not finished: the next one reads that again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_beginning_in_which_all_is_done_is_committed() {
    let stage = Stage::new().await;
    stage.topic("orders", 1).await;
    stage.fill("orders", 0..100).await;
    let seen = Seen::default();
    let shutdown = Shutdown::new();
    let handler = {
        let seen = seen.clone();
        move |record: ConsumedRecord| {
            let seen = seen.clone();
            async move {
                // It does not come to its end in this run.
                if number(&record) == 40 {
                    std::future::pending::<()>().await;
                }
                seen.push(record);
                Ok(())
            }
        }
    };
    // What was handed out is not to be committed by the consumer.
    let consumer = stage.consumer("g", &["orders"]).auto_commit(BRIEF);
    let runner = quickly(Runner::new(consumer).order(Order::None).concurrency(8));
    let runner = runner.drain_timeout(Duration::from_millis(200));
    let run = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { runner.run(handler, &shutdown).await }
    });
    seen.until(99).await;
    shutdown.begin();
    timeout(SOON, run).await.unwrap().unwrap().unwrap();
    assert_eq!(stage.committed("g").await, 40);

    let again = Seen::default();
    let shutdown = Shutdown::new();
    let handler = {
        let (again, shutdown) = (again.clone(), shutdown.clone());
        move |record: ConsumedRecord| {
            if again.push(record) == 60 {
                shutdown.begin();
            }
            std::future::ready(Ok(()))
        }
    };
    timeout(SOON, quickly(Runner::new(stage.consumer("g", &["orders"]))).run(handler, &shutdown))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.numbers(), (40..100).collect::<Vec<_>>());
    assert_eq!(stage.committed("g").await, 100);
}

/// Row 8: a failed record is tried in its place while other partitions go on, and then lies in the dead letter topic as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fails_is_tried_in_place_and_becomes_a_dead_letter() {
    let stage = Stage::new().await;
    stage.topic("orders", 2).await;
    stage.topic("orders.dlq", 1).await;
    let bad = Record::new("orders").partition(0).key("bad").value("no order").timestamp(1_700_000_000_000);
    let bad = bad.header("trace", vec![0xff, 0]).header("trace", "").null_header("none");
    let producer = stage.producer();
    for record in [
        Record::new("orders").partition(0).value("0"),
        bad.clone(),
        Record::new("orders").partition(0).value("2"),
        Record::new("orders").partition(1).value("10"),
    ] {
        producer.send(record).await.unwrap();
    }
    let (seen, tries, shutdown) = (Seen::default(), Arc::new(AtomicUsize::new(0)), Shutdown::new());
    let handler = {
        let (seen, tries, shutdown) = (seen.clone(), Arc::clone(&tries), shutdown.clone());
        move |record: ConsumedRecord| {
            let (seen, tries, shutdown) = (seen.clone(), Arc::clone(&tries), shutdown.clone());
            async move {
                if record.key().is_some() {
                    // The other partition is not held up by it.
                    seen.until(2).await;
                    match tries.fetch_add(1, Ordering::Relaxed) {
                        0 => return Err("no stock".into()),
                        1 => panic!("the stock is gone"),
                        _ => text(&record).parse::<u64>()?,
                    };
                }
                if seen.push(record) == 3 {
                    shutdown.begin();
                }
                Ok(())
            }
        }
    };
    let runner = AtLeastOnce::new(stage.consumer("g", &["orders"]), producer).configure(quickly);
    let report = timeout(SOON, runner.run(handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.handled, report.retried, report.given_up), (3, 2, 1));
    assert_eq!(stage.committed("g").await, 4);
    let of_first: Vec<_> = seen.all().iter().filter(|record| record.partition() == 0).map(number).collect();
    assert_eq!(of_first, [0, 2]);

    let letters = stage.read("orders.dlq", 1).await;
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.key(), letter.value()), (Some(&"bad".into()), Some(&"no order".into())));
    let own: Vec<_> = letter.headers().iter().take(3).map(|header| (header.name, header.value)).collect();
    let expected: [(&[u8], Option<&[u8]>); 3] =
        [(b"trace", Some(&[0xff, 0])), (b"trace", Some(b"")), (b"none", None)];
    assert_eq!(own, expected);
    for (name, expected) in [
        ("topic", "orders"),
        ("partition", "0"),
        ("offset", "1"),
        ("timestamp", "1700000000000"),
        ("tries", "3"),
        ("error", "invalid digit found in string"),
    ] {
        assert_eq!(header(letter, &format!("milena.origin.{name}")).as_deref(), Some(expected), "{name}");
    }
    let failed_at: i64 = header(letter, "milena.origin.failedAt").unwrap().parse().unwrap();
    assert_eq!(letter.timestamp(), failed_at);
}

/// Without a fallback the runner ends, and the record is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fallback_nothing_is_left_out() {
    let stage = Stage::new().await;
    stage.topic("orders", 1).await;
    stage.fill("orders", 0..10).await;
    let handler = |record: ConsumedRecord| async move {
        if number(&record) == 6 { Err(HandlerError::permanent("six")) } else { Ok(()) }
    };
    for _ in 0..2 {
        let runner = quickly(Runner::new(stage.consumer("g", &["orders"])));
        let error = timeout(SOON, runner.run(handler, &Shutdown::new())).await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record at offset 6 of orders-0 failed 1 times and there is no fallback for it: six"
        );
        assert!(matches!(error, RunError::Handler { offset: 6, reason: Reason::Failed(_), .. }));
        assert_eq!(stage.committed("g").await, 6);
    }
}

/// A dead letter that is not acknowledged is as bad as none: its offset is not committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_not_taken_holds_the_offset() {
    let stage = Stage::new().await;
    stage.topic("orders", 1).await;
    stage.fill("orders", 0..3).await;
    // There is no topic for dead letters.
    let producer = stage.client.producer().max_block(Duration::from_millis(200)).build().unwrap();
    let runner = quickly(Runner::new(stage.consumer("g", &["orders"]))).fallback(DeadLetters::new(producer));
    let handler =
        |record: ConsumedRecord| async move { if number(&record) == 1 { Err("one".into()) } else { Ok(()) } };
    let error = timeout(SOON, runner.run(handler, &Shutdown::new())).await.unwrap().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "the record at offset 1 of orders-0 failed (one), and its fallback does not take it"
        ),
        "{text}"
    );
    assert_eq!(stage.committed("g").await, 1);
}

/// Row 9: a chunk that fails goes on from its first record that is not done, and one bad record takes no other along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_goes_on_where_it_failed() {
    let stage = Stage::new().await;
    stage.topic("mails", 2).await;
    stage.topic("mails.dlq", 1).await;
    stage.fill("mails", 0..200).await;
    let (counts, sizes, shutdown) =
        (Arc::<Mutex<HashMap<u64, u32>>>::default(), Arc::<Mutex<Vec<usize>>>::default(), Shutdown::new());
    let handler = {
        let (counts, sizes, shutdown) = (Arc::clone(&counts), Arc::clone(&sizes), shutdown.clone());
        move |records: Vec<ConsumedRecord>| {
            let (counts, sizes, shutdown) = (Arc::clone(&counts), Arc::clone(&sizes), shutdown.clone());
            async move {
                sizes.lock().unwrap().push(records.len());
                for (done, record) in records.iter().enumerate() {
                    let number = number(record);
                    // The first try at each tenth fails, and every try at 77, where nobody says how far it came.
                    let tries = counts.lock().unwrap().get(&number).copied().unwrap_or_default();
                    if number == 77 {
                        return Err("77".into());
                    }
                    *counts.lock().unwrap().entry(number).or_default() += 1;
                    if number.is_multiple_of(10) && tries == 0 {
                        return Err(BatchError { done, error: "the first try".into() });
                    }
                }
                if counts.lock().unwrap().len() == 199 {
                    shutdown.begin();
                }
                Ok(())
            }
        }
    };
    let runner = ParallelBatches::new(stage.consumer("g", &["mails"]), stage.producer());
    let runner = runner.chunk(50).configure(quickly);
    let report = timeout(SOON, runner.run(handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!((report.handled, report.given_up), (199, 1));
    let counts = counts.lock().unwrap().clone();
    for (number, count) in counts.iter().filter(|(number, _)| number.is_multiple_of(10)) {
        assert!(*count >= 2, "{number} was not tried again");
    }
    // Those before a failed one that says how far it came are not handled again, but for those beside 77.
    let twice = counts.iter().filter(|(number, count)| !number.is_multiple_of(10) && **count > 1).count();
    assert!(twice < 50, "{twice} are handled again");
    assert!(sizes.lock().unwrap().iter().all(|size| (1..=50).contains(size)));
    assert!(sizes.lock().unwrap().iter().any(|size| *size > 10));
    let letters = stage.read("mails.dlq", 1).await;
    assert_eq!(letters.iter().map(text).collect::<Vec<_>>(), ["77"]);
    assert_eq!(stage.committed("g").await, 200);
}

/// A slow partition does not fill the memory: it is paused, and goes on later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_behind_is_paused() {
    let stage = Stage::new().await;
    stage.topic("orders", 2).await;
    let producer = stage.producer();
    let records = (0..4_000)
        .map(|number: u64| Record::new("orders").partition((number % 2) as i32).value(number.to_string()));
    producer.enqueue_all(records).await.unwrap().all().await.unwrap();
    let (seen, shutdown) = (Seen::default(), Shutdown::new());
    let open = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = {
        let (seen, shutdown, open) = (seen.clone(), shutdown.clone(), Arc::clone(&open));
        move |record: ConsumedRecord| {
            let (seen, shutdown, open) = (seen.clone(), shutdown.clone(), Arc::clone(&open));
            async move {
                if record.partition() == 0 {
                    drop(open.acquire().await);
                }
                if seen.push(record) == 4_000 {
                    shutdown.begin();
                }
                Ok(())
            }
        }
    };
    let consumer = stage.consumer("g", &["orders"]).max_poll_records(20);
    let runner = quickly(Runner::new(consumer)).concurrency(2).max_pending(50);
    let run = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { runner.run(handler, &shutdown).await }
    });
    // All of the other partition, though the first one does not move.
    seen.until(2_000).await;
    assert!(seen.all().iter().all(|record| record.partition() == 1));
    open.add_permits(1);
    let report = timeout(SOON, run).await.unwrap().unwrap().unwrap();
    assert_eq!(report.handled, 4_000);
    assert_eq!(stage.committed("g").await, 4_000);
}

/// Members come and go: what moves is finished and committed before it does, so that nothing is done twice, and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_is_finished_first() {
    let stage = Stage::new().await;
    stage.topic("orders", 6).await;
    stage.fill("orders", 0..1_400).await;
    let (seen, last) = (Seen::default(), Arc::<Mutex<HashMap<Vec<u8>, u64>>>::default());
    let member = |shutdown: Shutdown| {
        let (seen, last) = (seen.clone(), Arc::clone(&last));
        let handler = move |record: ConsumedRecord| {
            let (seen, last) = (seen.clone(), Arc::clone(&last));
            async move {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..4))).await;
                let number = number(&record);
                let before = last.lock().unwrap().insert(record.key().unwrap().to_vec(), number);
                assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
                seen.push(record);
                Ok(())
            }
        };
        let consumer = stage.consumer("g", &["orders"]).max_poll_records(10);
        let runner = quickly(Runner::new(consumer)).concurrency(8).order(Order::Key).max_pending(20);
        tokio::spawn(async move { runner.run(handler, &shutdown).await })
    };
    let shutdowns: [Shutdown; 3] = std::array::from_fn(|_| Shutdown::new());
    let first = member(shutdowns[0].clone());
    seen.until(100).await;
    let second = member(shutdowns[1].clone());
    seen.until(500).await;
    shutdowns[0].begin();
    let third = member(shutdowns[2].clone());
    seen.until(900).await;
    shutdowns[1].begin();
    let mut handled = first.await.unwrap().unwrap().handled + second.await.unwrap().unwrap().handled;
    seen.until(1_400).await;
    shutdowns[2].begin();
    handled += third.await.unwrap().unwrap().handled;
    assert_eq!(handled, 1_400, "nothing twice, for nobody was killed");
    assert_eq!(seen.numbers().into_iter().collect::<BTreeSet<_>>().len(), 1_400);
    assert_eq!(stage.committed("g").await, 1_400);
}

/// A listener of the application's is told of what comes before it is handled, and of what goes after it was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_of_the_applications_is_told_too() {
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl RebalanceListener for Told {
        async fn assigned(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
            self.0.lock().unwrap().push(format!("{partitions:?} come"));
        }

        async fn revoked(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
            let committed = context.committed(partitions.iter().cloned()).await.unwrap();
            let offsets: Vec<_> = committed.values().map(|offset| offset.position.offset).collect();
            self.0.lock().unwrap().push(format!("{} go at {offsets:?}", partitions.len()));
        }
    }

    let stage = Stage::new().await;
    stage.topic("orders", 1).await;
    stage.fill("orders", 0..20).await;
    let (told, shutdown) = (Told::default(), Shutdown::new());
    let handler = {
        let (told, shutdown) = (told.clone(), shutdown.clone());
        move |record: ConsumedRecord| {
            assert_eq!(told.0.lock().unwrap().len(), 1);
            if number(&record) == 19 {
                shutdown.begin();
            }
            std::future::ready(Ok(()))
        }
    };
    let consumer = stage.consumer("g", &["orders"]).rebalance_listener(told.clone());
    let report = timeout(SOON, consumer.run(4, Order::Key, handler, &shutdown)).await.unwrap().unwrap();
    assert_eq!(report.handled, 20);
    let told = told.0.lock().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], "1 go at [20]");
}

/// The end of a transaction is no record, and still has an offset: a group that has done everything is not behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_has_done_everything_is_not_behind_a_transaction() {
    let stage = Stage::new().await;
    stage.topic("orders", 1).await;
    let mut producer = stage.client.transactional_producer("orders").build().await.unwrap();
    for commits in [true, false] {
        let transaction = producer.begin().unwrap();
        for number in 0..5 {
            transaction.send(Record::new("orders").value(number.to_string())).await.unwrap();
        }
        let ended = if commits { transaction.commit().await } else { transaction.abort().await };
        ended.unwrap();
    }
    let (seen, shutdown) = (Seen::default(), Shutdown::new());
    let handler = {
        let seen = seen.clone();
        move |record: ConsumedRecord| {
            seen.push(record);
            std::future::ready(Ok(()))
        }
    };
    let consumer = stage.consumer("g", &["orders"]).isolation_level(IsolationLevel::ReadCommitted);
    let running = quickly(Runner::new(consumer));
    let behind = async {
        while !matches!(stage.client.admin().group_lag("g").await.as_deref(), Ok([partition]) if partition.lag() == Some(0))
        {
            tokio::time::sleep(BRIEF).await;
        }
        shutdown.begin();
    };
    let (report, ()) =
        timeout(SOON, async { tokio::join!(running.run(handler, &shutdown), behind) }).await.unwrap();
    assert_eq!(report.unwrap().handled, 5);
    assert_eq!(stage.committed("g").await, 12);
}
