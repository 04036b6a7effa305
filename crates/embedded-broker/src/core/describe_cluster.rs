//! DescribeCluster: the brokers and the cluster's id.
//!
//! Imitates Kafka 4.3.1 as a broker. A question for the controllers' endpoints is MISMATCHED_ENDPOINT_TYPE; brokers that
//! are down are shown as fenced to those who ask for them (version 2).
//!
//! Leaves out: authorized operations.

use milena_protocol::{
    ErrorCode,
    messages::{DescribeClusterRequest, DescribeClusterResponse, describe_cluster::DescribeClusterBroker},
};

use super::{Cluster, dispatch::Answer};

const BROKERS: i8 = 1;

impl Cluster {
    pub(super) fn describe_cluster(&self, request: &DescribeClusterRequest) -> Answer {
        if request.endpoint_type != BROKERS {
            return DescribeClusterResponse {
                error_code: ErrorCode::MISMATCHED_ENDPOINT_TYPE.0,
                error_message: Some("The request was sent to an endpoint of the wrong type.".into()),
                ..DescribeClusterResponse::default()
            }
            .into();
        }
        let shown =
            self.brokers.iter().filter(|(id, _)| request.include_fenced_brokers || self.up.contains(id));
        let brokers = shown.map(|(id, broker)| DescribeClusterBroker {
            broker_id: id.0,
            host: broker.host.clone(),
            port: broker.port,
            is_fenced: !self.up.contains(id),
            ..DescribeClusterBroker::default()
        });
        DescribeClusterResponse {
            cluster_id: self.config.cluster_id.as_str().into(),
            controller_id: self.controller(),
            brokers: brokers.collect(),
            ..DescribeClusterResponse::default()
        }
        .into()
    }
}
