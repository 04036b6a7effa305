//! What stands before a record: a zero, and the id of its schema in four bytes, big endian.
//!
//! <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>

use bytes::{BufMut, BytesMut};

use crate::{Error, SchemaId};

const MAGIC: u8 = 0;

/// A buffer that begins with the header.
pub(crate) fn framed(id: SchemaId) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.put_u8(MAGIC);
    bytes.put_u32(id.0);
    bytes
}

/// Takes the header off: the id of the schema by which the rest was written, and the rest.
///
/// # Errors
/// When this is no record that was written by a registry's schema.
pub fn split_header(record: &[u8]) -> Result<(SchemaId, &[u8]), Error> {
    const DOING: &str = "reading a record's header";
    match record {
        [MAGIC, a, b, c, d, rest @ ..] => Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), rest)),
        [MAGIC, ..] => Err(Error::data(DOING, format!("there are {} bytes of 5", record.len()))),
        [first, ..] => Err(Error::data(
            DOING,
            format!("it begins with {first} in place of 0; was it written without a schema registry?"),
        )),
        [] => Err(Error::data(DOING, "the record is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_a_zero_and_four_bytes() {
        assert_eq!(&framed(SchemaId(258))[..], [0, 0, 0, 1, 2]);
        assert_eq!(split_header(&[0, 0, 0, 1, 2, 9]).unwrap(), (SchemaId(258), &[9][..]));
        for bytes in [&[][..], &[0, 1], &[1, 0, 0, 0, 1]] {
            split_header(bytes).unwrap_err();
        }
    }
}
