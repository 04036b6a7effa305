//! Other producer numbers for a batch that was never written.

use bytes::{Bytes, BytesMut};

use super::{HEADER_LEN, ProducerStamp, header::BatchHeader};

/// The batch with the numbers of `stamp`, and a new CRC.
///
/// Only for a batch that every broker it was sent to is known to have refused: to a broker that has written it, the
/// result is another batch and its records are duplicates. The bytes are copied once, unless nobody else holds them.
/// Bytes shorter than a batch's header are handed back as they are.
#[must_use]
pub fn restamp(batch: Bytes, stamp: ProducerStamp) -> Bytes {
    let Some(mut header) = batch.first_chunk::<HEADER_LEN>().and_then(BatchHeader::parse) else {
        return batch;
    };
    header.producer_id = stamp.producer_id;
    header.producer_epoch = stamp.producer_epoch;
    header.base_sequence = stamp.base_sequence;
    let mut bytes = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    header.write(&mut bytes);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Compression};

    #[test]
    fn a_restamped_batch_equals_one_stamped_so_at_first() {
        let batch = |stamp| {
            let mut builder = BatchBuilder::new(1024);
            builder.append(5, Some(b"key"), Some(b"value"), []).unwrap();
            builder.compress(Compression::Gzip).unwrap().stamp(stamp)
        };
        let stamp = |base_sequence| ProducerStamp {
            producer_id: 7,
            producer_epoch: 1,
            base_sequence,
            transactional: false,
        };
        let first = batch(stamp(3));
        let kept = first.clone();
        assert_eq!(restamp(first, stamp(9)), batch(stamp(9)));
        assert_eq!(kept, batch(stamp(3)));
    }
}
