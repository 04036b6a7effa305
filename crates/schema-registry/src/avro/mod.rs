//! Records in Avro, by the crate `apache-avro`.
//!
//! Bytes are walked through by their schema before they are decoded ([`check`]): lengths and counts are held against what is
//! left, nesting is bounded and nothing may be left over, none of which `apache-avro` sees to.

mod check;
mod decoder;
mod encoder;
mod parsed;

pub use decoder::AvroDecoder;
pub use encoder::AvroEncoder;
#[cfg(feature = "server")]
pub(crate) use parsed::ParsedAvro;
