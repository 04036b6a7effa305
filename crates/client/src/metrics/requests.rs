//! What connections count, answer by answer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::{Histogram, gauge, histogram};
use milena_connection::Observe;
use milena_protocol::ApiKey;

use super::names;

/// Counts what the connections of a client do. There are as many entries as APIs that it uses.
#[derive(Default)]
pub(super) struct RequestMeters {
    durations: Mutex<BTreeMap<ApiKey, Histogram>>,
}

impl Observe for RequestMeters {
    fn opened(&self) {
        gauge!(names::CONNECTIONS).increment(1.0);
    }

    fn closed(&self) {
        gauge!(names::CONNECTIONS).decrement(1.0);
    }

    fn answered(&self, api: ApiKey, took: Duration) {
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let duration = durations
            .entry(api)
            .or_insert_with(|| histogram!(names::REQUEST_DURATION, "api" => api.to_string()));
        duration.record(took);
    }

    fn throttled(&self, api: ApiKey, pause: Duration) {
        histogram!(names::THROTTLE_DURATION, "api" => api.to_string()).record(pause);
    }
}
