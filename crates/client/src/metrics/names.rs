//! The names, their kinds and what is said of them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const PRODUCED: &str = "kafka_messages_produced_total";
pub(super) const CONSUMED: &str = "kafka_messages_consumed_total";
pub(super) const PRODUCE_DURATION: &str = "kafka_produce_duration_seconds";
pub(super) const LAG: &str = "kafka_consumer_lag";
pub(super) const BATCH_SIZE: &str = "milena_producer_batch_size_bytes";
pub(super) const BATCH_RECORDS: &str = "milena_producer_batch_records";
pub(super) const QUEUE_DURATION: &str = "milena_producer_queue_duration_seconds";
pub(super) const RETRIES: &str = "milena_producer_retries_total";
pub(super) const FAILED: &str = "milena_producer_records_failed_total";
pub(super) const REBALANCES: &str = "milena_consumer_rebalances_total";
pub(super) const REQUEST_DURATION: &str = "milena_request_duration_seconds";
pub(super) const THROTTLE_DURATION: &str = "milena_throttle_duration_seconds";
pub(super) const CONNECTIONS: &str = "milena_connections_open";
pub(super) const WITHOUT_COMMIT: &str = "milena_lag_partitions_without_commit";
pub(super) const CHECKS_FAILED: &str = "milena_lag_checks_failed_total";

/// Every name there is, as the table has them.
pub const NAMES: &[&str] = &[
    PRODUCED,
    CONSUMED,
    PRODUCE_DURATION,
    LAG,
    BATCH_SIZE,
    BATCH_RECORDS,
    QUEUE_DURATION,
    RETRIES,
    FAILED,
    REBALANCES,
    REQUEST_DURATION,
    THROTTLE_DURATION,
    CONNECTIONS,
    WITHOUT_COMMIT,
    CHECKS_FAILED,
];

/// Tells the recorder of the process, or of the thread, what each name means and in which unit it is.
///
/// A client does so when it connects. Call it if a recorder is to know before there is a client.
pub fn describe() {
    describe_counter!(PRODUCED, Unit::Count, "Records that were acknowledged.");
    describe_counter!(CONSUMED, Unit::Count, "Records that were handed to the application.");
    let text = "Seconds from the first record of a batch being accepted to its acknowledgement.";
    describe_histogram!(PRODUCE_DURATION, Unit::Seconds, text);
    let text =
        "Offsets between where a group is and the end of the partition; NaN when that is not known any more.";
    describe_gauge!(LAG, Unit::Count, text);
    describe_histogram!(BATCH_SIZE, Unit::Bytes, "Bytes of a batch as it was sent, compressed.");
    describe_histogram!(BATCH_RECORDS, Unit::Count, "Records of a batch that was sent.");
    let text = "Seconds from the first record of a batch being accepted to its first try.";
    describe_histogram!(QUEUE_DURATION, Unit::Seconds, text);
    describe_counter!(RETRIES, Unit::Count, "Batches that were sent again.");
    describe_counter!(FAILED, Unit::Count, "Records that were accepted and given up.");
    describe_counter!(REBALANCES, Unit::Count, "Times that partitions were assigned, revoked or lost.");
    let text = "Seconds from a request being handed to its connection to the answer.";
    describe_histogram!(REQUEST_DURATION, Unit::Seconds, text);
    let text = "Seconds for which brokers asked the client to be quiet.";
    describe_histogram!(THROTTLE_DURATION, Unit::Seconds, text);
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections that are ready for requests.");
    describe_gauge!(WITHOUT_COMMIT, Unit::Count, "Partitions that a group has committed nothing for.");
    describe_counter!(CHECKS_FAILED, Unit::Count, "Groups whose lag could not be asked for.");
}
