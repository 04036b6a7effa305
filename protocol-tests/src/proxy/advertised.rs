//! Where brokers say that they are: answers that name hosts and ports, with others in their place.

use milena_protocol::{ApiKey, messages::Response, wire::ByteString};

/// Whether answers of this API may say where brokers are.
pub(super) const fn tells_addresses(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::Metadata
            | ApiKey::FindCoordinator
            | ApiKey::DescribeCluster
            | ApiKey::Produce
            | ApiKey::Fetch
            | ApiKey::ShareFetch
            | ApiKey::ShareAcknowledge
    )
}

/// Gives every address that is told to `lead`, to be changed. Whether there was one.
pub(super) fn lead_elsewhere(
    response: &mut Response,
    mut lead: impl FnMut(&mut ByteString, &mut i32),
) -> bool {
    let mut told = false;
    let mut lead = |host: &mut ByteString, port: &mut i32| {
        // An answer that names nobody has an empty host.
        if !host.is_empty() {
            told = true;
            lead(host, port);
        }
    };
    match response {
        Response::Metadata(answer) => {
            answer.brokers.iter_mut().for_each(|broker| lead(&mut broker.host, &mut broker.port));
        }
        Response::FindCoordinator(answer) => {
            lead(&mut answer.host, &mut answer.port);
            let coordinators = answer.coordinators.iter_mut();
            coordinators.for_each(|coordinator| lead(&mut coordinator.host, &mut coordinator.port));
        }
        Response::DescribeCluster(answer) => {
            answer.brokers.iter_mut().for_each(|broker| lead(&mut broker.host, &mut broker.port));
        }
        Response::Produce(answer) => {
            answer.node_endpoints.iter_mut().for_each(|node| lead(&mut node.host, &mut node.port));
        }
        Response::Fetch(answer) => {
            let nodes = answer.node_endpoints.iter().map(|mut node| {
                lead(&mut node.host, &mut node.port);
                node
            });
            answer.node_endpoints = nodes.collect();
        }
        Response::ShareFetch(answer) => {
            let nodes = answer.node_endpoints.iter().map(|mut node| {
                lead(&mut node.host, &mut node.port);
                node
            });
            answer.node_endpoints = nodes.collect();
        }
        Response::ShareAcknowledge(answer) => {
            answer.node_endpoints.iter_mut().for_each(|node| lead(&mut node.host, &mut node.port));
        }
        _ => {}
    }
    told
}
