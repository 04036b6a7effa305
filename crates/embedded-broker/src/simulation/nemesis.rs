//! What befalls brokers and groups.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{faults::Faults, world::Log};
use crate::{
    EmbeddedBroker,
    core::{BrokerId, random::Random},
};

/// Something that is put right again later.
#[derive(Clone, Copy, Debug)]
struct Ordeal {
    until: Instant,
    broker: BrokerId,
    is_stop: bool,
}

/// Has things go wrong until it is time to stop, then puts everything right.
pub(super) async fn run(seed: u64, faults: Faults, begin: Instant, broker: Arc<EmbeddedBroker>, log: Log) {
    let calm = begin + faults.lasting;
    let mut random = Random::new(seed ^ 0x6e6d);
    let mut ordeals: Vec<Ordeal> = Vec::new();
    let mut next = faults.every.map(|every| begin + random.up_to(every * 2));
    loop {
        let ends = ordeals.iter().map(|ordeal| ordeal.until).min();
        let at = [next, ends].into_iter().flatten().min().filter(|at| *at < calm);
        let Some(at) = at else { break };
        sleep_until(at).await;
        let (over, left) = ordeals.into_iter().partition(|ordeal| ordeal.until <= at);
        ordeals = left;
        put_right(&broker, &log, over);
        if next.is_some_and(|next| next <= at) {
            ordeals.extend(strike(&broker, &log, faults, &mut random, &ordeals));
            next = faults.every.map(|every| at + Duration::from_millis(1) + random.up_to(every * 2));
        }
    }
    sleep_until(calm).await;
    put_right(&broker, &log, ordeals);
    log.line("calm");
}

fn put_right(broker: &EmbeddedBroker, log: &Log, ordeals: Vec<Ordeal>) {
    for ordeal in ordeals {
        if ordeal.is_stop {
            log.line(format_args!("broker {} starts", ordeal.broker));
            broker.start_broker(ordeal.broker);
        } else {
            log.line(format_args!("broker {} goes on", ordeal.broker));
            broker.resume_broker(ordeal.broker);
        }
    }
}

/// One thing goes wrong.
fn strike(
    broker: &EmbeddedBroker,
    log: &Log,
    faults: Faults,
    random: &mut Random,
    under_way: &[Ordeal],
) -> Option<Ordeal> {
    let ids: Vec<BrokerId> = broker.with_cluster(|cluster, _| cluster.brokers().collect());
    let id = *ids.get(random.below(ids.len() as u64) as usize)?;
    let now = Instant::now();
    match random.below(4) {
        // A broker has one ordeal at a time.
        0 | 1 if under_way.iter().any(|ordeal| ordeal.broker == id) => None,
        0 => {
            log.fault(format_args!("broker {id} stops"));
            broker.stop_broker(id);
            Some(Ordeal { until: now + random.up_to(faults.stopped), broker: id, is_stop: true })
        }
        1 => {
            log.fault(format_args!("broker {id} stands still"));
            broker.pause_broker(id);
            Some(Ordeal { until: now + random.up_to(faults.paused), broker: id, is_stop: false })
        }
        2 => {
            let partitions = broker.with_cluster(|cluster, _| cluster.partitions());
            let (topic, partition) = partitions.get(random.below(partitions.len() as u64) as usize)?;
            log.fault(format_args!("broker {id} is to lead {topic}-{partition}"));
            // A broker that is stopped can't.
            let _ = broker.with_cluster(|cluster, now| cluster.move_leader(now, topic, *partition, id));
            None
        }
        _ => {
            let groups = broker.with_cluster(|cluster, _| cluster.group_ids());
            let group = groups.get(random.below(groups.len() as u64) as usize)?;
            log.fault(format_args!("the sessions of group {group} end"));
            broker.with_cluster(|cluster, now| cluster.expire_sessions(now, group));
            None
        }
    }
}
