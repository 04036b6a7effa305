//! A consumer whose broker lies: alone or in a group, of either protocol.

use std::time::Instant;

use milena_cluster::TopicPartition;
use milena_consumer_group::{
    AutoOffsetReset, CommitMode, Consumer, ConsumerConfig, Event, IsolationLevel, SeekTo,
};
use milena_embedded_broker::core::ClusterConfig;

use super::{
    heap,
    lab::{Lab, TOPICS},
    script::Script,
};

/// The most that is taken in one go.
const SLICE: usize = 50;

pub(super) fn consumer(input: &[u8]) {
    let mut script = Script::new(input);
    let how = script.byte();
    let in_group = how & 1 == 0;
    let config = ConsumerConfig {
        group_id: in_group.then(|| "readers".into()),
        auto_offset_reset: if how & 2 == 0 { AutoOffsetReset::Earliest } else { AutoOffsetReset::Latest },
        isolation_level: if how & 4 == 0 {
            IsolationLevel::ReadCommitted
        } else {
            IsolationLevel::ReadUncommitted
        },
        seed: script.long(),
        ..Default::default()
    };
    let broker = ClusterConfig { consumer_groups: how & 8 == 0, ..Default::default() };
    let now = Instant::now();
    let mut lab = Lab::new(Consumer::new(now, config).unwrap(), now, broker);
    lab.fill();
    let topics = TOPICS.iter().map(|(topic, _)| (*topic).into());
    if in_group {
        lab.machine.subscribe(now, topics).unwrap();
    } else {
        let partitions = topics.map(|topic: bytestring::ByteString| (TopicPartition::new(topic, 0), None));
        lab.machine.assign(now, partitions).unwrap();
    }
    lab.settle();
    while !script.has_ended() {
        match script.byte() % 8 {
            0 => act(&mut lab, &mut script),
            1 | 2 => take(&mut lab),
            _ => lab.step(&mut script),
        }
        hear(&mut lab);
    }
    lab.machine.close(lab.now);
    lab.run_to_the_end(|event| matches!(event, Event::Closed));
    assert!(lab.machine.assignment().is_empty() || !in_group, "a member that has left owns partitions");
}

fn act(lab: &mut Lab<Consumer>, script: &mut Script<'_>) {
    let now = lab.now;
    let assigned = lab.machine.assignment();
    let which = usize::from(script.byte());
    let partition = which.checked_rem(assigned.len()).and_then(|at| assigned.get(at));
    match (script.byte() % 6, partition) {
        (0, Some(partition)) => drop(lab.machine.seek(now, partition, SeekTo::Beginning)),
        (1, Some(partition)) => {
            drop(lab.machine.seek(now, partition, SeekTo::Offset(i64::from(script.short()))));
        }
        (2, Some(partition)) => drop(lab.machine.pause(partition)),
        (3, Some(partition)) => drop(lab.machine.resume(partition)),
        (4, _) => drop(lab.machine.query_committed(now, assigned)),
        _ => drop(lab.machine.commit_positions(now, CommitMode::Sync)),
    }
    lab.acted();
}

fn take(lab: &mut Lab<Consumer>) {
    for records in lab.machine.take(lab.now, SLICE) {
        let count = heap::within(heap::VIEW, || records.iter().count());
        assert_eq!(count, records.len(), "records were lost");
        assert!(count <= SLICE, "more records than asked for");
    }
    lab.acted();
}

/// Gives up what is to be given up, as an application does.
fn hear(lab: &mut Lab<Consumer>) {
    while let Some(event) = lab.events.pop_front() {
        if let Event::RevokePending(_) = event {
            lab.machine.revoke_done(lab.now);
            lab.acted();
        }
    }
}
