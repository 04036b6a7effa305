//! How every command finds its cluster, and what it says when there is none.

use milena::{Client, ConnectError};

use crate::{advised::advised, security::Security};

/// A client of the cluster behind `bootstrap`. When none is there, `otherwise` says what else may be done than starting
/// a broker.
pub(crate) async fn connect(
    bootstrap: &str,
    security: &Security,
    client_id: &'static str,
    otherwise: &str,
) -> anyhow::Result<Client> {
    let client = security.secure(Client::builder(bootstrap).client_id(client_id))?.connect().await;
    client.map_err(|error| match error {
        ConnectError::Address(_) => advised(error, "host:port, several separated by commas"),
        ConnectError::Unsafe(_) => {
            advised(error, "encrypt with --tls or --tls-ca FILE, or take scram-sha-512 with --sasl-mechanism")
        }
        _ => match security.advice(&error.to_string()) {
            Some(advice) => advised(error, advice),
            None => {
                let doctor = format!("`milena doctor -b {bootstrap}` tells how far one gets");
                advised(error, format!("start a broker with `milena broker`, or {otherwise}; {doctor}"))
            }
        },
    })
}

/// The names that `wanted` may have been meant to be, the likeliest first, three at most.
pub(crate) fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    /// Of likenesses from 0 to 1: `orders` and `order` have 0.97, `orders` and `payments` 0.43.
    const ALIKE: f64 = 0.8;
    let likeness = |name| (strsim::jaro_winkler(&wanted.to_lowercase(), &str::to_lowercase(name)), name);
    let mut alike: Vec<_> =
        names.into_iter().map(likeness).filter(|(likeness, _)| *likeness >= ALIKE).collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn names_that_are_close_come_first_and_others_not_at_all() {
        let names = ["payments", "orders", "Orders-eu", "order", "x"];
        assert_eq!(near("orderz", names), ["order", "orders", "Orders-eu"]);
        assert_eq!(near("ORDERS", names), ["orders", "order", "Orders-eu"]);
        assert!(near("inventory", names).is_empty());
    }
}
