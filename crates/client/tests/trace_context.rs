//! The context of traces in the headers of records, and the spans around it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use milena::{
    AutoOffsetReset, Client, ConsumedRecord, Consumer, Propagator, Record, TopicPartition, TraceContext,
};
use milena_embedded_broker::EmbeddedBroker;
use tracing::{
    Event, Level, Metadata, Span, Subscriber,
    field::{Field, Visit},
    span,
};

const SOON: Duration = Duration::from_secs(10);
const TRACE: [u8; 16] = [0xab; 16];

/// Numbers the spans of its client's `send` and `receive`, and knows the one that is entered.
#[derive(Clone, Default)]
struct Spans {
    lines: Arc<Mutex<Vec<String>>>,
    entered: Arc<Mutex<Vec<u64>>>,
    last: Arc<AtomicU64>,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("milena") && *metadata.level() <= Level::DEBUG && metadata.is_span()
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut line = format!("{id} {}", attributes.metadata().name());
        attributes.record(&mut Fields(&mut line));
        self.lines.lock().unwrap().push(line);
        span::Id::from_u64(id)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        let mut line = format!("{}", id.into_u64());
        values.record(&mut Fields(&mut line));
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, id: &span::Id) {
        self.entered.lock().unwrap().push(id.into_u64());
    }

    fn exit(&self, _: &span::Id) {
        self.entered.lock().unwrap().pop();
    }

    fn event(&self, _: &Event<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
}

/// Takes the number of the span that is entered for its id, as a bridge to OpenTelemetry would.
#[derive(Clone, Default)]
struct Bridge {
    spans: Spans,
    links: Arc<Mutex<Vec<(u64, TraceContext)>>>,
}

impl Propagator for Bridge {
    fn current(&self) -> Option<TraceContext> {
        let span = *self.spans.entered.lock().unwrap().last()?;
        Some(TraceContext::new(TRACE, span.to_be_bytes(), 1)?.with_state("milena=1"))
    }

    fn link(&self, span: &Span, received: &TraceContext) {
        self.links.lock().unwrap().push((span.id().unwrap().into_u64(), received.clone()));
    }
}

async fn read(consumer: &Consumer, records: usize) -> Vec<ConsumedRecord> {
    let mut read = Vec::new();
    while read.len() < records {
        let records = consumer.poll(SOON).await.unwrap().unwrap();
        for record in records.iter() {
            assert_eq!(record.trace_context(), record.to_record().trace_context());
            read.push(record.to_record());
        }
    }
    read
}

fn reader(client: &Client) -> Consumer {
    let consumer = client.consumer_without_group().assign([TopicPartition::new("letters", 0)]);
    consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
}

/// Whether a span is wanted is asked once for the process, at a moment that two tests at a time would make any.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[test]
fn the_context_of_the_span_goes_with_the_record_and_comes_back_linked() {
    let _alone = ALONE.blocking_lock();
    let bridge = Bridge::default();
    let _told = tracing::subscriber::set_default(bridge.spans.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
        let client = Client::builder(broker.bootstrap()).propagator(bridge.clone()).trace_keys(true);
        let client = client.client_id("post").connect().await.unwrap();
        let producer = client.producer().build().unwrap();
        let old = "00-00000000000000000000000000000001-0000000000000001-00";
        let record = Record::new("letters").value("v").key("k").header("traceparent", old).header("why", "x");
        producer.send(&record).await.unwrap();
        let batch = [record.clone(), record];
        // Outside of a span there is no context: headers stay as they are.
        producer.enqueue_all(&batch).await.unwrap().all().await.unwrap();
        let consumer = reader(&client);
        let records = read(&consumer, 3).await;

        let context = records[0].trace_context().unwrap();
        assert_eq!(
            (context.trace_id(), context.is_sampled(), context.state()),
            (TRACE, true, Some("milena=1"))
        );
        let names: Vec<_> = records[0].headers().iter().map(|header| header.name.to_vec()).collect();
        assert_eq!(names, [&b"why"[..], b"traceparent", b"tracestate"], "the old one is replaced");
        assert_eq!(records[1].trace_context().unwrap().to_string(), old);

        let sender = u64::from_be_bytes(context.span_id());
        let lines = bridge.spans.lines.lock().unwrap().clone();
        let send = lines.iter().find(|line| line.starts_with(&format!("{sender} send "))).unwrap();
        assert!(send.contains(r#"messaging.client.id="post""#), "{send}");
        assert!(send.contains(r#"messaging.kafka.message.key="k""#), "{send}");
        let links = bridge.links.lock().unwrap().clone();
        assert_eq!(links.len(), 3);
        assert_eq!(links[0].1, context);
        let receiver = links[0].0;
        let receive = lines.iter().find(|line| line.starts_with(&format!("{receiver} receive "))).unwrap();
        for told in [r#"messaging.operation.type="receive""#, "messaging.batch.message_count="] {
            assert!(receive.contains(told), "{receive}");
        }
        assert!(lines.contains(&format!(r#"{receiver} messaging.destination.name="letters""#)), "{lines:?}");
        assert!(lines.contains(&format!("{receiver} messaging.destination.partition.id=0")), "{lines:?}");
        assert!(lines.contains(&format!("{receiver} otel.name=poll letters")), "{lines:?}");
    });
}

#[tokio::test]
async fn without_a_propagator_nothing_is_added_and_broken_headers_are_no_error() {
    let _alone = ALONE.lock().await;
    let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("letters").value("v")).await.unwrap();
    let broken = [&b"01"[..], b"", b"\xff\xfe", &[b'0'; 55]];
    for value in broken {
        producer.send(Record::new("letters").header("traceparent", value.to_vec())).await.unwrap();
    }
    producer.send(Record::new("letters").null_header("traceparent")).await.unwrap();
    let records = read(&reader(&client), 6).await;
    assert_eq!(records[0].headers().iter().count(), 0);
    assert!(records.iter().all(|record| record.trace_context().is_none()));
}
