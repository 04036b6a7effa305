//! Spans of what is sent and received, and the context of traces in the headers of records.
//!
//! # References
//! OpenTelemetry's semantic conventions for messaging and for Kafka (names of spans and attributes).

mod context;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use milena_producer::{NewRecord, RecordMetadata};
use milena_protocol::wire::ByteString;
use tracing::{Instrument as _, Span, field};

use crate::{Records, SendError};
use context::{TRACEPARENT, TRACESTATE};

pub use context::{InvalidTraceContext, TraceContext};

/// The longest key that a span tells.
const MAX_KEY: usize = 64;
/// The most records of a `receive` span that are linked: OpenTelemetry keeps no more unless told otherwise.
const MAX_LINKS: usize = 128;

/// Connects an application's tracing with the headers of records: `traceparent` and `tracestate`, as W3C Trace Context and
/// OpenTelemetry's Kafka instrumentations have them.
///
/// What it does is done in the caller's task, for each record: it should be quick. Give it to
/// [`ClientBuilder::propagator`](crate::ClientBuilder::propagator). With `tracing-opentelemetry` it takes the context of
/// `tracing::Span::current()`; the crate is not needed here:
///
/// ```
/// use milena::{Propagator, TraceContext};
/// use opentelemetry::{SpanContext, SpanId, TraceFlags, TraceId, TraceState, trace::TraceContextExt};
/// # mod opentelemetry {
/// #     #[derive(Clone)] pub struct SpanContext;
/// #     pub struct TraceId(pub [u8; 16]); pub struct SpanId(pub [u8; 8]); pub struct TraceFlags(u8); pub struct TraceState;
/// #     impl TraceId { pub fn to_bytes(self) -> [u8; 16] { self.0 } pub fn from_bytes(b: [u8; 16]) -> Self { Self(b) } }
/// #     impl SpanId { pub fn to_bytes(self) -> [u8; 8] { self.0 } pub fn from_bytes(b: [u8; 8]) -> Self { Self(b) } }
/// #     impl TraceFlags { pub fn new(f: u8) -> Self { Self(f) } pub fn to_u8(self) -> u8 { self.0 } }
/// #     impl TraceState { pub const NONE: Self = Self; pub fn header(&self) -> String { String::new() } }
/// #     impl SpanContext {
/// #         pub fn new(_: TraceId, _: SpanId, _: TraceFlags, _: bool, _: TraceState) -> Self { Self }
/// #         pub fn trace_id(&self) -> TraceId { TraceId([1; 16]) } pub fn span_id(&self) -> SpanId { SpanId([2; 8]) }
/// #         pub fn trace_flags(&self) -> TraceFlags { TraceFlags(1) } pub fn trace_state(&self) -> TraceState { TraceState }
/// #     }
/// #     pub struct Context;
/// #     pub mod trace { pub trait TraceContextExt { fn span(&self) -> super::SpanRef; }
/// #         impl TraceContextExt for super::Context { fn span(&self) -> super::SpanRef { super::SpanRef } } }
/// #     pub struct SpanRef; impl SpanRef { pub fn span_context(&self) -> SpanContext { SpanContext } }
/// # }
/// # trait OpenTelemetrySpanExt { fn context(&self) -> opentelemetry::Context; fn add_link(&self, _: SpanContext); }
/// # impl OpenTelemetrySpanExt for tracing::Span {
/// #     fn context(&self) -> opentelemetry::Context { opentelemetry::Context } fn add_link(&self, _: SpanContext) {} }
///
/// struct OpenTelemetry;
///
/// impl Propagator for OpenTelemetry {
///     fn current(&self) -> Option<TraceContext> {
///         let context = tracing::Span::current().context(); // tracing_opentelemetry::OpenTelemetrySpanExt
///         let span = context.span().span_context().clone();
///         let (trace_id, span_id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
///         let context = TraceContext::new(trace_id, span_id, span.trace_flags().to_u8())?;
///         Some(context.with_state(span.trace_state().header()))
///     }
///
///     fn link(&self, span: &tracing::Span, received: &TraceContext) {
///         span.add_link(SpanContext::new(
///             TraceId::from_bytes(received.trace_id()),
///             SpanId::from_bytes(received.span_id()),
///             TraceFlags::new(received.flags()),
///             true,
///             TraceState::NONE,
///         ));
///     }
/// }
/// let client = milena::Client::builder("localhost:9092").propagator(OpenTelemetry);
/// ```
pub trait Propagator: Send + Sync + 'static {
    /// The context that a record is to carry; with none it carries what headers it has. During
    /// [`Producer::send`](crate::Producer::send) the current span is its span `send`; during
    /// [`enqueue`](crate::Producer::enqueue) it is the caller's.
    fn current(&self) -> Option<TraceContext>;

    /// A record with this context was handed out by [`Consumer::poll`](crate::Consumer::poll), whose span is `span`. It is called
    /// for the first 128 such records of a call, if the span is recorded at all.
    fn link(&self, span: &Span, received: &TraceContext) {
        let _ = (span, received);
    }
}

/// What spans say, and the application's propagator.
#[derive(Clone, Default)]
pub(crate) struct Tracing {
    pub(crate) propagator: Option<Arc<dyn Propagator>>,
    pub(crate) tells_keys: bool,
    pub(crate) client_id: ByteString,
}

impl Tracing {
    #[inline]
    pub(crate) fn is_off(&self) -> bool {
        self.propagator.is_none()
    }

    /// The headers of a record with the current context, in place of one that it has; `None` when they stay as they are.
    #[inline]
    pub(crate) fn headers(
        &self,
        headers: &[(ByteString, Option<Bytes>)],
    ) -> Option<Vec<(ByteString, Option<Bytes>)>> {
        let context = self.propagator.as_ref()?.current()?;
        Some(with_context(headers, &context))
    }

    /// Sends a record in a span of its own, which tells what became of it.
    pub(crate) async fn in_span(
        &self,
        record: &NewRecord<'_>,
        sending: impl Future<Output = Result<RecordMetadata, SendError>>,
    ) -> Result<RecordMetadata, SendError> {
        let span = self.sending(record);
        let sent = sending.instrument(span.clone()).await;
        tell_sent(&span, &sent);
        sent
    }

    /// The span of sending a record.
    fn sending(&self, record: &NewRecord<'_>) -> Span {
        tracing::debug_span!(
            "send",
            otel.name = %format_args!("send {}", record.topic),
            otel.kind = "producer",
            messaging.system = "kafka",
            messaging.operation.name = "send",
            messaging.operation.r#type = "send",
            messaging.client.id = &*self.client_id,
            messaging.destination.name = record.topic,
            messaging.kafka.message.key = record.key.filter(|_| self.tells_keys).and_then(short),
            messaging.kafka.message.tombstone = record.value.is_none().then_some(true),
            messaging.destination.partition.id = field::Empty,
            messaging.kafka.offset = field::Empty,
            error.r#type = field::Empty,
            otel.status_code = field::Empty,
        )
    }

    /// The span of records being handed out, linked with the spans that have sent them.
    pub(crate) fn received(&self, group: &str, records: &Records) {
        let span = tracing::debug_span!(
            "receive",
            otel.name = field::Empty,
            otel.kind = "client",
            messaging.system = "kafka",
            messaging.operation.name = "poll",
            messaging.operation.r#type = "receive",
            messaging.client.id = &*self.client_id,
            messaging.consumer.group.name = Some(group).filter(|group| !group.is_empty()),
            messaging.batch.message_count = records.len(),
            messaging.destination.name = field::Empty,
            messaging.destination.partition.id = field::Empty,
            messaging.kafka.offset = field::Empty,
        );
        if span.is_disabled() {
            return;
        }
        describe(&span, records);
        if let Some(propagator) = &self.propagator {
            let contexts = records.iter().filter_map(|record| record.trace_context());
            contexts.take(MAX_LINKS).for_each(|context| propagator.link(&span, &context));
        }
    }
}

/// Says where a record got to.
fn tell_sent(span: &Span, sent: &Result<RecordMetadata, SendError>) {
    if span.is_disabled() {
        return;
    }
    match sent {
        Ok(written) => {
            span.record("messaging.destination.partition.id", field::display(written.partition));
            span.record("messaging.kafka.offset", written.offset);
        }
        Err(error) => {
            let kind = match error {
                SendError::NotAcknowledged(error) => error.certainty.to_string(),
                SendError::NotAccepted(_) => "not accepted".to_owned(),
                _ => "blocked".to_owned(),
            };
            span.record("error.type", kind);
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Topic, partition and offset are told where there is one of them.
fn describe(span: &Span, records: &Records) {
    let mut partitions = records.partitions().iter().map(milena_consumer_group::PartitionRecords::partition);
    let Some(first) = partitions.next() else { return };
    let (is_one, is_one_topic) =
        (records.partitions().len() == 1, partitions.all(|it| it.topic == first.topic));
    if is_one_topic {
        span.record("otel.name", field::display(format_args!("poll {}", first.topic)));
        span.record("messaging.destination.name", &*first.topic);
    }
    if is_one {
        span.record("messaging.destination.partition.id", field::display(first.partition));
    }
    if let (1, Some(record)) = (records.len(), records.iter().next()) {
        span.record("messaging.kafka.offset", record.offset());
    }
}

/// A key that is a short text.
fn short(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok().filter(|_| key.len() <= MAX_KEY)
}

fn with_context(
    headers: &[(ByteString, Option<Bytes>)],
    context: &TraceContext,
) -> Vec<(ByteString, Option<Bytes>)> {
    let mut all = Vec::with_capacity(headers.len().saturating_add(2));
    let is_old = |name: &str| name == TRACEPARENT || name == TRACESTATE;
    all.extend(headers.iter().filter(|(name, _)| !is_old(name)).cloned());
    all.push((ByteString::from_static(TRACEPARENT), Some(context.to_string().into())));
    if let Some(state) = context.state_bytes() {
        all.push((ByteString::from_static(TRACESTATE), Some(state.clone())));
    }
    all
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").field("propagates", &!self.is_off()).finish_non_exhaustive()
    }
}
