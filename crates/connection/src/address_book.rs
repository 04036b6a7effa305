//! Where the brokers listen, as far as answers have told, and when that is no longer to be believed.
//!
//! # References
//! KIP-899 (a client whose brokers are all gone asks the bootstrap addresses again; here they are always the last resort of a
//! request that any broker can answer), KIP-1102 (so does one that gets no metadata for long, and one that is told to),
//! KIP-951 (answers that name a new leader tell where it is).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use milena_cluster::BrokerId;
use milena_protocol::{ErrorCode, messages::Response};
use tokio::time::Instant;

use crate::Address;

/// The brokers of a cluster. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressBook(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    brokers: BTreeMap<BrokerId, Address>,
    /// When metadata was first asked for since it last came.
    asked_since: Option<Instant>,
    /// How many times everything was forgotten.
    edition: u64,
}

impl AddressBook {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, id: BrokerId) -> Option<Address> {
        self.entries().brokers.get(&id).cloned()
    }

    pub(crate) fn brokers(&self) -> BTreeMap<BrokerId, Address> {
        self.entries().brokers.clone()
    }

    /// How many times everything was forgotten: who knows another number has connections to brokers that may be no longer
    /// those of the cluster.
    pub(crate) fn edition(&self) -> u64 {
        self.entries().edition
    }

    /// Notes that metadata is asked for. When none has come for `patience` everything is forgotten, once: the next time is as
    /// long again from here.
    pub(crate) fn asked_for_metadata(&self, now: Instant, patience: Duration) {
        let mut entries = self.entries();
        match entries.asked_since {
            Some(since) if now.saturating_duration_since(since) >= patience => {
                tracing::info!(?patience, "no metadata for long: asking the bootstrap addresses again");
                entries.forget();
                entries.asked_since = Some(now);
            }
            Some(_) => {}
            None => entries.asked_since = Some(now),
        }
    }

    /// Notes the brokers an answer names. An answer that is none, but tells the client to begin anew, is an error.
    pub(crate) fn learn(&self, response: &Response) -> Result<(), BeginAnew> {
        match response {
            Response::Metadata(metadata) => {
                let mut entries = self.entries();
                if metadata.error_code == ErrorCode::REBOOTSTRAP_REQUIRED.0 {
                    tracing::info!("told to ask the bootstrap addresses again");
                    entries.forget();
                    return Err(BeginAnew);
                }
                // An empty list comes from a starting broker. Otherwise it is the whole cluster: who is not in it is gone.
                if !metadata.brokers.is_empty() {
                    let brokers = metadata.brokers.iter();
                    let brokers =
                        brokers.filter_map(|broker| entry(broker.node_id, &broker.host, broker.port));
                    entries.brokers = brokers.collect();
                    entries.asked_since = None;
                }
            }
            Response::FindCoordinator(found) => {
                let coordinators = found.coordinators.iter().filter(|found| found.error_code == 0);
                self.add(coordinators.filter_map(|found| entry(found.node_id, &found.host, found.port)));
            }
            Response::Produce(produce) => {
                let nodes = produce.node_endpoints.iter();
                self.add(nodes.filter_map(|node| entry(node.node_id, &node.host, node.port)));
            }
            Response::Fetch(fetch) => {
                let nodes = fetch.node_endpoints.iter();
                self.add(nodes.filter_map(|node| entry(node.node_id, &node.host, node.port)));
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&self, brokers: impl Iterator<Item = (BrokerId, Address)>) {
        let mut brokers = brokers.peekable();
        if brokers.peek().is_some() {
            self.entries().brokers.extend(brokers);
        }
    }
}

impl Entries {
    fn forget(&mut self) {
        self.brokers.clear();
        self.edition = self.edition.wrapping_add(1);
    }
}

/// The broker is not to be asked any more, nor are those it has named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BeginAnew;

fn entry(id: i32, host: &str, port: i32) -> Option<(BrokerId, Address)> {
    let port = u16::try_from(port).ok()?;
    Some((BrokerId::from_wire(id)?, Address { host: host.to_owned(), port }))
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::{MetadataResponse, metadata::MetadataResponseBroker};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(300);

    fn cluster(ids: &[i32]) -> Response {
        let broker = |id: &i32| MetadataResponseBroker {
            node_id: *id,
            host: "b".into(),
            port: 9092,
            ..Default::default()
        };
        MetadataResponse { brokers: ids.iter().map(broker).collect(), ..Default::default() }.into()
    }

    fn known(book: &AddressBook) -> Vec<i32> {
        book.brokers().into_keys().map(|id| id.0).collect()
    }

    /// M5.
    #[test]
    fn metadata_names_the_whole_cluster_unless_it_names_nobody() {
        let book = AddressBook::default();
        for (named, expected) in [(&[1, 2][..], [1, 2]), (&[], [1, 2]), (&[2, 3], [2, 3])] {
            book.learn(&cluster(named)).unwrap();
            assert_eq!(known(&book), expected);
        }
    }

    /// M4.
    #[test]
    fn everything_is_forgotten_when_metadata_does_not_come_for_long() {
        let (book, begin) = (AddressBook::default(), Instant::now());
        book.learn(&cluster(&[1])).unwrap();
        // However long nobody asked.
        book.asked_for_metadata(begin + PATIENCE * 3, PATIENCE);
        book.asked_for_metadata(begin + PATIENCE * 4 - Duration::from_millis(1), PATIENCE);
        assert_eq!((known(&book), book.edition()), (vec![1], 0));
        book.asked_for_metadata(begin + PATIENCE * 4, PATIENCE);
        assert_eq!((known(&book), book.edition()), (vec![], 1));
        // Not again and again.
        book.asked_for_metadata(begin + PATIENCE * 4 + Duration::from_secs(1), PATIENCE);
        assert_eq!(book.edition(), 1);
        book.learn(&cluster(&[2])).unwrap();
        book.asked_for_metadata(begin + PATIENCE * 9, PATIENCE);
        assert_eq!((known(&book), book.edition()), (vec![2], 1));
    }

    /// M4.
    #[test]
    fn everything_is_forgotten_when_a_broker_says_so() {
        let book = AddressBook::default();
        book.learn(&cluster(&[1])).unwrap();
        let error_code = ErrorCode::REBOOTSTRAP_REQUIRED.0;
        let told = MetadataResponse { error_code, ..Default::default() };
        assert_eq!(book.learn(&told.into()), Err(BeginAnew));
        assert_eq!((known(&book), book.edition()), (vec![], 1));
    }
}
