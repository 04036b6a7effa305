//! A consumer against a model of three logs, with faults from a seed: whatever happens, every record that may be seen is
//! handed out exactly once and in order, from wherever reading was last put.

use std::collections::BTreeSet;

use fastrand::Rng;
use milena_protocol::messages::{FetchRequest, fetch::AbortedTransaction};

use super::{
    batches::{at, compacted, data as batch, marker},
    *,
};
use crate::{AutoOffsetReset, IsolationLevel, SeekTo};

const PARTITIONS: usize = 3;
const SEEDS: u64 = 150;
const STEPS: usize = 300;

/// The log of one partition.
#[derive(Default)]
struct Log {
    /// Base offset, next offset, bytes.
    batches: Vec<(i64, i64, Bytes)>,
    end: i64,
    /// Producer, first offset, offset of the abort marker.
    aborted: Vec<(i64, i64, i64)>,
    /// What a reader may see.
    visible: Vec<i64>,
}

impl Log {
    fn new(random: &mut Rng, isolation: IsolationLevel) -> Self {
        let mut log = Self::default();
        let mut open: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for _ in 0..random.usize(1..60) {
            match random.u8(..10) {
                0 => log.append(compacted(random.i32(1..5))),
                1..=4 => {
                    let first = log.end;
                    log.append(batch(None, random.usize(1..6)));
                    log.visible.extend(first..log.end);
                }
                5..=7 => {
                    let (producer, first) = (random.i64(1..3), log.end);
                    log.append(batch(Some(producer), random.usize(1..6)));
                    open.entry(producer).or_default().extend(first..log.end);
                }
                _ => log.end_transaction(&mut open, random, isolation),
            }
        }
        while !open.is_empty() {
            log.end_transaction(&mut open, random, isolation);
        }
        log.visible.sort_unstable();
        log
    }

    fn append(&mut self, bytes: Bytes) {
        let bytes = at(self.end, 5, bytes);
        let next =
            milena_protocol::records::Batches::new(bytes.clone()).next().unwrap().unwrap().next_offset();
        self.batches.push((self.end, next, bytes));
        self.end = next;
    }

    fn end_transaction(
        &mut self,
        open: &mut BTreeMap<i64, Vec<i64>>,
        random: &mut Rng,
        isolation: IsolationLevel,
    ) {
        let Some((producer, offsets)) = open.pop_first() else { return };
        let committed = random.bool();
        if !committed {
            self.aborted.push((producer, offsets[0], self.end));
        }
        if committed || isolation == IsolationLevel::ReadUncommitted {
            self.visible.extend(offsets);
        }
        self.append(marker(producer, committed));
    }

    /// What a leader answers: whole batches up to the limit, at least one, and a piece of the next.
    fn read(&self, partition: i32, offset: i64, max_bytes: usize, random: &mut Rng) -> PartitionData {
        if offset > self.end {
            return refused(partition, ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let mut bytes = Vec::new();
        let mut last = offset;
        for (_, next, batch) in self.batches.iter().filter(|(_, next, _)| *next > offset) {
            if !bytes.is_empty() && bytes.len() + batch.len() > max_bytes {
                bytes.extend_from_slice(&batch[..random.usize(..batch.len())]);
                break;
            }
            bytes.extend_from_slice(batch);
            last = *next;
        }
        let overlapping = self.aborted.iter().filter(|(_, first, end)| *first < last && *end >= offset);
        let mut aborted: Vec<_> = overlapping
            .map(|(producer_id, first_offset, _)| AbortedTransaction {
                producer_id: *producer_id,
                first_offset: *first_offset,
                ..Default::default()
            })
            .collect();
        random.shuffle(&mut aborted);
        PartitionData {
            partition_index: partition,
            high_watermark: self.end,
            last_stable_offset: self.end,
            aborted_transactions: Some(aborted.into()),
            records: Some(bytes.into()),
            ..Default::default()
        }
    }
}

struct Simulation {
    script: Script,
    random: Rng,
    logs: Vec<Log>,
    /// By partition: the next offset that may be handed out.
    next: [i64; PARTITIONS],
    /// Where a batch has been damaged on the way already: twice in a row would be taken for a damaged log.
    damaged: BTreeSet<(i32, i64)>,
    ms: u64,
    seed: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let isolation_level =
            if random.bool() { IsolationLevel::ReadCommitted } else { IsolationLevel::ReadUncommitted };
        let config = ConsumerConfig {
            isolation_level,
            auto_offset_reset: AutoOffsetReset::Earliest,
            max_partition_fetch_bytes: random.i32(200..2_000),
            max_buffered_bytes: random.usize(500..8_000),
            seed,
            ..Default::default()
        };
        let logs = (0..PARTITIONS).map(|_| Log::new(&mut random, isolation_level)).collect();
        let mut script = Script::new(config);
        let leaders = (0..PARTITIONS).map(|_| (random.i32(1..4), 5)).collect();
        script.cluster.topics.get_mut("letters").unwrap().1 = leaders;
        script.assign(&[0; PARTITIONS]);
        Self { script, random, logs, next: [0; PARTITIONS], damaged: BTreeSet::new(), ms: 0, seed }
    }

    fn leaders(&mut self) -> &mut Vec<(i32, i32)> {
        &mut self.script.cluster.topics.get_mut("letters").unwrap().1
    }

    fn step(&mut self) {
        match self.random.u8(..20) {
            0..=7 => self.answer(true),
            8..=13 => self.take(),
            14..=16 => {
                self.ms += self.random.u64(1..400);
                self.script.pass_until(self.ms);
            }
            17 => {
                let (index, leader) = (self.random.usize(..PARTITIONS), self.random.i32(1..4));
                let place = &mut self.leaders()[index];
                *place = (leader, place.1 + 1);
            }
            18 => {
                let partition = letters(self.random.i32(0..3));
                if self.random.bool() {
                    self.script.consumer.pause(&partition).unwrap();
                } else {
                    self.script.consumer.resume(&partition).unwrap();
                }
            }
            _ => {
                let index = self.random.usize(..PARTITIONS);
                let offset = self.random.i64(0..=self.logs[index].end);
                let partition = letters(i32::try_from(index).unwrap());
                self.script.consumer.seek(self.script.now(), &partition, SeekTo::Offset(offset)).unwrap();
                self.next[index] = offset;
            }
        }
        self.script.drain();
        for event in self.script.events() {
            assert_eq!(event, Event::Fetched, "seed {}", self.seed);
        }
    }

    /// Answers one of the requests that wait, whichever.
    fn answer(&mut self, faults: bool) {
        if self.script.pending.is_empty() {
            return;
        }
        let index = self.random.usize(..self.script.pending.len());
        let outgoing = self.script.pending.remove(index).unwrap();
        if faults && self.random.u8(..12) == 0 {
            let kind = if self.random.bool() { FailureKind::NotSent } else { FailureKind::Unanswered };
            return self.script.fail(outgoing.id, kind);
        }
        let Target::Broker(broker) = outgoing.target else { panic!() };
        let Request::Fetch(request) = &outgoing.request else { panic!("{:?}", outgoing.request) };
        let answer = self.fetch(broker, request, faults);
        self.script.answer(outgoing.id, answer);
    }

    fn fetch(&mut self, broker: BrokerId, request: &FetchRequest, faults: bool) -> FetchResponse {
        let mut room = usize::try_from(request.max_bytes).unwrap();
        let mut answers = Vec::new();
        for asked in request.topics.iter().flat_map(|topic| &topic.partitions) {
            let (index, offset) = (asked.partition, asked.fetch_offset);
            let (leader, epoch) = self.leaders()[usize::try_from(index).unwrap()];
            if leader != broker.0 {
                answers.push(refused(index, ErrorCode::NOT_LEADER_OR_FOLLOWER));
                continue;
            }
            if asked.current_leader_epoch != epoch {
                answers.push(refused(index, ErrorCode::FENCED_LEADER_EPOCH));
                continue;
            }
            if faults && self.random.u8(..15) == 0 {
                answers.push(refused(index, ErrorCode::KAFKA_STORAGE_ERROR));
                continue;
            }
            if room == 0 {
                answers.push(data(index, &[]));
                continue;
            }
            let limit = room.min(usize::try_from(asked.partition_max_bytes).unwrap());
            let log = &self.logs[usize::try_from(index).unwrap()];
            let mut answer = log.read(index, offset, limit, &mut self.random);
            room = room.saturating_sub(answer.records.as_ref().map_or(0, Bytes::len));
            if faults && self.random.u8(..15) == 0 && self.damaged.insert((index, offset)) {
                answer.records = answer.records.map(|records| self.damage(&records));
            }
            answers.push(answer);
        }
        self.random.shuffle(&mut answers);
        fetched(answers)
    }

    /// Flips a bit that the CRC covers, in the first batch.
    fn damage(&mut self, records: &Bytes) -> Bytes {
        let mut bytes = records.to_vec();
        if let Some(byte) = bytes.get_mut(23) {
            *byte ^= 1 << 6;
        }
        bytes.into()
    }

    fn take(&mut self) {
        let max = self.random.usize(1..20);
        let held = self.script.consumer.explain(self.script.now());
        for (partition, offsets) in self.script.taken(max) {
            let index = usize::try_from(partition).unwrap();
            let expected: Vec<_> = self.logs[index].visible.to_vec();
            let from = expected.partition_point(|offset| *offset < self.next[index]);
            let expected = &expected[from..from + offsets.len()];
            assert_eq!(offsets, expected, "seed {}, partition {partition}: {held:?}", self.seed);
            self.next[index] = offsets[offsets.len() - 1] + 1;
            assert!(self.script.position(partition).unwrap() >= self.next[index]);
        }
    }

    /// Without faults everything is read to the end.
    fn finish(&mut self) {
        for index in 0..3 {
            self.script.consumer.resume(&letters(index)).unwrap();
        }
        for _ in 0..3_000 {
            self.answer(false);
            self.take();
            self.ms += 100;
            self.script.pass_until(self.ms);
            let is_done = (0..)
                .zip(&self.logs)
                .all(|(partition, log)| self.script.position(partition) == Some(log.end));
            if is_done {
                return;
            }
        }
        panic!("seed {}: {:#?}", self.seed, self.script.consumer.explain(self.script.now()));
    }
}

#[test]
fn every_visible_record_is_handed_out_once_and_in_order_whatever_happens() {
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed);
        for _ in 0..STEPS {
            simulation.step();
        }
        simulation.finish();
    }
}
