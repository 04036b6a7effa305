//! A producer whose broker lies.

use std::time::{Duration, Instant};

use milena_embedded_broker::core::ClusterConfig;
use milena_producer::{At, NewRecord, Producer, ProducerConfig, ProducerEvent};
use milena_protocol::records::Compression;

use super::{
    lab::{Lab, TOPICS},
    script::Script,
};

/// How long closing may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn producer(input: &[u8]) {
    let mut script = Script::new(input);
    let codec = if script.byte() & 1 == 0 { Compression::None } else { Compression::Snappy };
    let config = ProducerConfig {
        codec: codec.into(),
        batch_size: 512,
        buffer_memory: 16 << 10,
        delivery_timeout: Duration::from_secs(60),
        seed: script.long(),
        ..Default::default()
    };
    let now = Instant::now();
    let mut lab = Lab::new(Producer::new(config).unwrap(), now, ClusterConfig::default());
    lab.settle();
    let mut deliveries = Vec::new();
    while !script.has_ended() {
        match script.byte() % 8 {
            0..=2 => deliveries.extend(enqueue(&mut lab, &mut script)),
            3 => drop(lab.machine.flush()),
            _ => lab.step(&mut script),
        }
        lab.settle();
        lab.events.clear();
    }
    lab.machine.close(lab.now + PATIENCE);
    let begin = lab.now;
    lab.run_to_the_end(|event| *event == ProducerEvent::Closed);
    assert!(lab.now <= begin + PATIENCE + Duration::from_secs(1), "closing took {:?}", lab.now - begin);
    for delivery in &deliveries {
        assert!(delivery.result().is_some(), "a record is neither written nor refused");
    }
}

fn enqueue(lab: &mut Lab<Producer>, script: &mut Script<'_>) -> Option<milena_producer::Delivery> {
    let how = script.byte();
    let (topic, partitions) = TOPICS.get(usize::from(how) % TOPICS.len()).copied().unwrap_or(("nowhere", 1));
    let value = script.take(usize::from(how >> 3));
    let record = NewRecord {
        topic,
        partition: (how & 4 == 0).then(|| i32::from(how) % partitions),
        key: (how & 8 == 0).then_some(value),
        value: Some(value),
        headers: &[],
        timestamp: None,
    };
    let enqueued =
        lab.machine.accumulator().enqueue(&At { now: lab.now, wall_ms: 1_700_000_000_000 }, &record).ok();
    lab.acted();
    enqueued.map(|enqueued| enqueued.delivery)
}
