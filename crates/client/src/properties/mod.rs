//! Settings in the names of Kafka's Java client or of librdkafka.

mod producer;

pub use self::producer::{Flavor, ProducerProperties, PropertiesError, PropertyProblem};
