//! What a producer tells a tracing subscriber.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use milena::{Client, ErrorCode, Record};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const SOON: Duration = Duration::from_secs(10);

/// A line for each span that is made and each event of our crates, but for the chatter of traces.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>, Arc<AtomicU64>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("milena") && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = format!("span {}", attributes.metadata().name());
        attributes.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
        span::Id::from_u64(self.1.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = "event".to_owned();
        event.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = "record".to_owned();
        values.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn sending_flushing_and_transactions_are_spans_and_what_goes_wrong_is_told() {
    let lines = Lines::default();
    let _told = tracing::subscriber::set_default(lines.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
        let client = Client::connect(broker.bootstrap()).await.unwrap();
        let producer = client.producer().build().unwrap();
        producer.send(Record::new("letters").value("v")).await.unwrap();
        broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
        producer.send(Record::new("letters").value("w")).await.unwrap();
        producer.flush().await.unwrap();
        producer.close(SOON).await.unwrap();
        let mut producer = client.transactional_producer("t").build().await.unwrap();
        let transaction = producer.begin().unwrap();
        transaction.send(Record::new("letters").value("x")).await.unwrap();
        transaction.commit().await.unwrap();
        let transaction = producer.begin().unwrap();
        transaction.send(Record::new("letters").value("y")).await.unwrap();
        transaction.abort().await.unwrap();
        producer.close(SOON).await.unwrap();
    });
    let lines = lines.0.lock().unwrap().clone();
    let spans: Vec<_> = lines.iter().filter(|line| line.starts_with("span")).map(String::as_str).collect();
    // Attributes of the conventions; what is not known when the span begins is recorded later.
    let send = concat!(
        r#"span send otel.name=send letters otel.kind="producer" messaging.system="kafka" "#,
        r#"messaging.operation.name="send" messaging.operation.type="send" messaging.client.id="milena" "#,
        r#"messaging.destination.name="letters""#,
    );
    let expected = [send, send, "span flush", "span close", send, "span commit", send, "span abort"];
    assert_eq!(spans.get(..expected.len()), Some(&expected[..]), "{spans:?}");
    let told = |what: &[&str]| lines.iter().any(|line| what.iter().all(|part| line.contains(part)));
    assert!(lines.iter().any(|line| line == "record messaging.destination.partition.id=0"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "record messaging.kafka.offset=1"), "{lines:?}");
    assert!(told(&["message=produce", "leader=", "batches=1", "bytes="]), "{lines:?}");
    assert!(
        told(&[
            "a batch waits to be sent again",
            "partition=letters-0",
            "sequence=1",
            "NOT_LEADER_OR_FOLLOWER"
        ]),
        "{lines:?}"
    );
}
