//! Who is there, and which versions it offers.

use std::{collections::BTreeMap, time::Duration};

use milena_protocol::{
    ApiKey, RequestMessage, ResponseMessage,
    frame::{decode_response, encode_request},
    messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse},
};
use thiserror::Error;

use super::connection::{Broken, Connection};

/// How long a broker may take for a request that is no part of a script.
const PATIENCE: Duration = Duration::from_secs(20);

/// The versions of an API that a broker offers.
pub type Offered = BTreeMap<i16, (i16, i16)>;

/// A cluster, as it was found.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The broker that was asked first.
    pub(super) bootstrap: String,
    /// The brokers' addresses, in the order of their ids.
    pub(super) brokers: BTreeMap<i32, String>,
    /// What it offers, by API key: the first and the last version.
    pub(super) offered: Offered,
}

/// A cluster that can't be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// No address answered.
    #[error("no broker answers: {0}")]
    Nobody(String),
    /// An answer is not what it should be.
    #[error("{address} does not answer as a broker does: {message}")]
    Odd {
        /// Who answered.
        address: String,
        /// What is wrong.
        message: String,
    },
}

impl Cluster {
    /// Asks the brokers of `host:port[,host:port…]` who they are; the first that answers is the one.
    ///
    /// # Errors
    /// When none answers, or not as a broker does.
    ///
    /// # Cancellation
    /// Dropping the future closes the connection.
    pub async fn discover(bootstrap: &str) -> Result<Self, Unreachable> {
        let mut failures = Vec::new();
        for address in bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match Connection::open(address).await {
                Ok(connection) => return Self::ask(address, connection).await,
                Err(broken) => failures.push(broken.to_string()),
            }
        }
        Err(Unreachable::Nobody(failures.join("; ")))
    }

    async fn ask(address: &str, mut connection: Connection) -> Result<Self, Unreachable> {
        let odd = |message: String| Unreachable::Odd { address: address.to_owned(), message };
        // Version 0 is read by every broker, and all that is needed is in it.
        let response: ApiVersionsResponse =
            ask(&mut connection, 0, ApiVersionsRequest::default()).await.map_err(odd)?;
        let offered: Offered =
            response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        let version = highest(&offered, ApiKey::Metadata, 12)
            .ok_or_else(|| odd("it offers no version of Metadata that Milena knows".into()))?;
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let response: MetadataResponse = ask(&mut connection, version, request).await.map_err(odd)?;
        let brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port)));
        Ok(Self { bootstrap: address.to_owned(), brokers: brokers.collect(), offered })
    }

    /// The versions that are offered, by API key.
    #[must_use]
    pub const fn offered(&self) -> &Offered {
        &self.offered
    }

    /// How many brokers there are.
    #[must_use]
    pub fn brokers(&self) -> usize {
        self.brokers.len()
    }

    pub(super) fn offers(&self, api: ApiKey, version: i16) -> bool {
        self.offered.get(&api.code()).is_some_and(|(first, last)| (*first..=*last).contains(&version))
    }

    /// The highest version of an API that is offered, `limit` at most.
    pub(super) fn highest(&self, api: ApiKey, limit: i16) -> Option<i16> {
        highest(&self.offered, api, limit)
    }
}

fn highest(offered: &Offered, api: ApiKey, limit: i16) -> Option<i16> {
    let (first, last) = offered.get(&api.code())?;
    let version = (*last).min(limit).min(*api.versions().end());
    (version >= *first).then_some(version)
}

/// Sends a request that is no part of a script, and reads its answer.
pub(super) async fn ask<R: RequestMessage>(
    connection: &mut Connection,
    version: i16,
    request: R,
) -> Result<R::Response, String> {
    let id = connection.next_id();
    let name = Some("milena-conformance".into());
    let frame = encode_request(&request.into(), version, id, name).map_err(|error| error.to_string())?;
    connection.send(&frame.to_bytes()).await.map_err(|broken| broken.to_string())?;
    let frame = connection.receive(PATIENCE).await.map_err(|broken: Broken| broken.to_string())?;
    let response = decode_response(R::API_KEY, version, &frame);
    let response = response.map_err(|error| format!("{} version {version}: {error}", R::API_KEY))?;
    R::Response::from_response(response).ok_or_else(|| "an answer of another API".into())
}
