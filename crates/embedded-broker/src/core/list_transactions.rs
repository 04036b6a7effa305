//! ListTransactions: the transactional ids that a broker coordinates.
//!
//! Imitates Kafka 4.3.1: filtered by producer id, state, duration (version 1) and pattern (version 2); states it does not
//! know are given back.
//!
//! Leaves out: patterns that Java's regular expressions know and Rust's do not are INVALID_REGULAR_EXPRESSION.

use milena_protocol::{
    ErrorCode,
    messages::{ListTransactionsRequest, ListTransactionsResponse, list_transactions::TransactionState},
    wire::ByteString,
};
use regex::Regex;

use super::{
    Cluster,
    coordinators::Kind,
    dispatch::{Answer, Context},
};

/// What Kafka calls states. The last two are never seen here.
const STATES: &[&str] = &[
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

impl Cluster {
    pub(super) fn list_transactions(&self, cx: &Context, request: &ListTransactionsRequest) -> Answer {
        match self.try_list_transactions(cx, request) {
            Ok(response) => response.into(),
            Err(error) => {
                ListTransactionsResponse { error_code: error.0, ..ListTransactionsResponse::default() }.into()
            }
        }
    }

    fn try_list_transactions(
        &self,
        cx: &Context,
        request: &ListTransactionsRequest,
    ) -> Result<ListTransactionsResponse, ErrorCode> {
        let mut seats = self.coordinators.seats(Kind::Transaction).iter();
        if seats.any(|seat| seat.broker == Some(cx.broker) && seat.is_loading(cx.now)) {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
        let pattern = pattern.map(|pattern| Regex::new(&format!("^(?:{pattern})$"))).transpose();
        let pattern = pattern.map_err(|_| ErrorCode::INVALID_REGULAR_EXPRESSION)?;
        let states = &request.state_filters;
        let here = self.transactions.iter().filter(|(id, transaction)| {
            let duration = cx.unix_ms.saturating_sub(transaction.since_ms());
            self.transaction_coordinator(id) == Some(cx.broker)
                && (request.producer_id_filters.is_empty()
                    || request.producer_id_filters.iter().any(|producer| producer == transaction.producer.id))
                && (states.is_empty() || states.iter().any(|state| **state == *transaction.state_name()))
                && (request.duration_filter < 0 || duration > request.duration_filter)
                && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
        });
        let transaction_states = here.map(|(id, transaction)| TransactionState {
            transactional_id: id.clone(),
            producer_id: transaction.producer.id,
            transaction_state: ByteString::from_static(transaction.state_name()),
            ..TransactionState::default()
        });
        let unknown = states.iter().filter(|state| !STATES.contains(&&***state)).cloned();
        Ok(ListTransactionsResponse {
            unknown_state_filters: unknown.collect(),
            transaction_states: transaction_states.collect(),
            ..ListTransactionsResponse::default()
        })
    }
}
