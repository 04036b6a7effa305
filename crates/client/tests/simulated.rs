//! The client under faults that a seed decides: what a user's own test looks like.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, ops::Range, time::Duration};

use milena::{AutoOffsetReset, Client, GroupProtocol, Record};
use milena_embedded_broker::{
    EmbeddedBroker,
    simulation::{Faults, Report, Simulation, World},
};

const PARTITIONS: i32 = 3;
const LETTERS: u32 = 600;
const PATIENCE: Duration = Duration::from_mins(5);

async fn client(world: &World) -> Client {
    loop {
        let builder = Client::builder(world.bootstrap())
            .dial_with(world.dial())
            .seed(world.seed())
            .wall_clock(world.wall_clock());
        match builder.connect().await {
            Ok(client) => return client,
            Err(error) => world.note(format_args!("no client yet: {error}")),
        }
    }
}

/// How a reader treats what it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Commits what it has handled.
    Careful,
    /// Commits first and handles only some of it before it is made again.
    CommitsFirst,
}

/// Letters are written through the faults; readers come and go. Each letter acknowledged is in the log once and in order,
/// and was handled.
async fn letters(world: World, protocol: GroupProtocol, reader: Reader) {
    let client = client(&world).await;
    let producer = client.producer().delivery_timeout(Duration::from_mins(10)).build().unwrap();
    let writing = tokio::spawn({
        let world = world.clone();
        async move {
            for number in 0..LETTERS {
                let record = Record::new("letters").partition(number as i32 % PARTITIONS);
                let delivery = producer.enqueue(record.value(number.to_string())).await.unwrap();
                if number % 10 == 9 {
                    delivery.await.unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            producer.flush().await.unwrap();
            producer.close(PATIENCE).await.unwrap();
            world.note("all letters are written");
        }
    });

    let mut handled: BTreeMap<u32, u32> = BTreeMap::new();
    // Readers that live for some time and die without a word.
    for life in 1u64.. {
        let consumer = client
            .consumer("readers")
            .group_protocol(protocol)
            .subscribe(["letters"])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .build()
            .unwrap();
        let dies = tokio::time::Instant::now() + Duration::from_secs(10 * life);
        while handled.len() < LETTERS as usize && tokio::time::Instant::now() < dies {
            let records = consumer.poll(Duration::from_secs(1)).await.unwrap().unwrap();
            if reader == Reader::CommitsFirst {
                let _ = consumer.commit().await;
                if tokio::time::Instant::now() >= dies {
                    break;
                }
            }
            for record in records.iter() {
                let number = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
                *handled.entry(number).or_default() += 1;
            }
            if reader == Reader::Careful {
                // A commit that fails is made up for by the next one.
                let _ = consumer.commit().await;
            }
        }
        drop(consumer);
        if handled.len() == LETTERS as usize {
            break;
        }
        assert!(life < 25, "only {} letters were handled", handled.len());
    }
    world.calm().await;
    writing.await.unwrap();
    for partition in 0..PARTITIONS {
        let written = world.broker().with_cluster(|cluster, _| cluster.offsets("letters", partition));
        assert_eq!(written, Some(0..i64::from(LETTERS) / i64::from(PARTITIONS)), "letters-{partition}");
    }
}

fn run(seeds: Range<u64>, protocol: GroupProtocol, reader: Reader) -> Vec<Report> {
    let broker = EmbeddedBroker::builder().brokers(3).topic("letters", PARTITIONS);
    Simulation::seeds(seeds).run(broker, |world| letters(world, protocol, reader))
}

#[test]
fn every_letter_is_written_once_and_handled_whatever_happens() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        for report in run(0..4, protocol, Reader::Careful) {
            assert!(report.faults >= 5, "hardly anything went wrong: {report:?}");
            assert!(report.simulated >= Duration::from_mins(1), "{report:?}");
        }
    }
}

#[test]
fn a_seed_goes_the_same_way_twice() {
    for seed in 20..23 {
        let once = run(seed..seed + 1, GroupProtocol::Consumer, Reader::Careful);
        assert_eq!(run(seed..seed + 1, GroupProtocol::Consumer, Reader::Careful), once);
    }
    let hashes: std::collections::BTreeSet<u64> = run(20..23, GroupProtocol::Consumer, Reader::Careful)
        .iter()
        .map(|report| report.trace_hash)
        .collect();
    assert_eq!(hashes.len(), 3, "seeds differ");
}

#[test]
#[should_panic(expected = "letters were handled")]
fn a_reader_that_commits_before_it_handles_is_found() {
    run(0..20, GroupProtocol::Consumer, Reader::CommitsFirst);
}

#[test]
#[should_panic(expected = "has not ended after 600s")]
fn a_test_that_hangs_is_ended() {
    let simulation = Simulation::seeds(0..1).faults(Faults::none()).patience(Duration::from_mins(10));
    simulation.run(EmbeddedBroker::builder(), |_| std::future::pending());
}
