//! What the context of traces asks of the allocator where nobody uses it. One test, so that nothing else allocates meanwhile.
#![expect(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{alloc::System, time::Duration};

use milena::{AutoOffsetReset, Client, NewRecord, Propagator, TopicPartition, TraceContext};
use milena_embedded_broker::EmbeddedBroker;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORDS: usize = 1000;
const SOON: Duration = Duration::from_secs(10);

/// How often something is allocated in `f`.
fn allocations<T>(f: impl FnOnce() -> T) -> usize {
    let region = Region::new(ALLOCATOR);
    std::hint::black_box(f());
    let change = region.change();
    change.allocations + change.reallocations
}

/// Nothing is being traced, or always the same.
struct Always(Option<TraceContext>);

impl Propagator for Always {
    fn current(&self) -> Option<TraceContext> {
        self.0.clone()
    }
}

/// Nothing else runs on this thread, and the batch does not fill: what is allocated is for handing records in, and for growing
/// the batch now and then.
async fn enqueuing(client: &Client) -> usize {
    let producer = client.producer().batch_size(1 << 20).linger(Duration::from_secs(5)).build().unwrap();
    let record = NewRecord::new("letters").value(b"value");
    producer.send(record).await.unwrap();
    producer.try_enqueue(record).unwrap().await.unwrap();
    let mut deliveries = Vec::with_capacity(RECORDS);
    let count = allocations(|| {
        for _ in 0..RECORDS {
            deliveries.push(producer.try_enqueue(record).unwrap());
        }
    });
    producer.close(SOON).await.unwrap();
    count
}

#[tokio::test(flavor = "current_thread")]
async fn tracing_that_nobody_uses_allocates_nothing() {
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = || Client::builder(broker.bootstrap());
    let off = client().connect().await.unwrap();
    let idle = client().propagator(Always(None)).connect().await.unwrap();
    let context = TraceContext::new([1; 16], [2; 8], 1);
    let on = client().propagator(Always(context)).connect().await.unwrap();
    let growing = RECORDS / 10;
    assert!(enqueuing(&off).await < growing);
    assert!(enqueuing(&idle).await < growing, "there is no context");
    assert!(enqueuing(&on).await >= RECORDS, "the test would find what is allocated");

    let consumer = off.consumer_without_group().assign([TopicPartition::new("letters", 0)]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).max_poll_records(2 * RECORDS);
    let consumer = consumer.build().unwrap();
    let (mut traced, mut read) = (0, 0);
    while read < 3 * RECORDS {
        let records = consumer.poll(SOON).await.unwrap().unwrap();
        read += records.len();
        let looking = || traced += records.iter().filter(|record| record.trace_context().is_some()).count();
        assert_eq!(allocations(looking), 0, "a traceparent alone needs no memory");
    }
    assert!(traced >= RECORDS);
}
