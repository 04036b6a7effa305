//! Finds the batches of a records field, checks them and decompresses them.

use bytes::{Buf, Bytes};

use super::{
    BatchError, BatchErrorKind, BatchHeader, Compression, CompressionError, HEADER_LEN, OwnedRecords,
    RecordPlace, Records,
    compression::{self, HeaderChecksum},
    header::{CRC_END, LENGTH_END, MAGIC, MIN_LENGTH, crc},
    legacy,
};

/// Least bytes of a record: its length, attributes, timestamp, offset, null key, null value, no headers.
const MIN_RECORD_LEN: usize = 7;
/// Base offset, length, leader epoch and magic, which every format begins with.
const MAGIC_END: usize = 17;

/// The batches of a records field, one after the other. Each is a slice of the field.
///
/// A batch that is cut off at the end is left out: brokers end their answers so. [`truncated`](Self::truncated) tells.
/// After an error there is nothing more: where the next batch would begin is not known.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// The batches in `records`, the value of a records field.
    #[must_use]
    pub const fn new(records: Bytes) -> Self {
        Self { rest: records, failed: false }
    }

    /// What is there of a batch that is cut off, once the iteration has ended.
    #[must_use]
    pub fn truncated(&self) -> Option<Truncated> {
        let batch_is_cut = !self.failed && !self.rest.is_empty();
        batch_is_cut.then(|| Truncated {
            len: self.rest.len(),
            needed: self
                .front()
                .and_then(|(_, length)| usize::try_from(length).ok()?.checked_add(LENGTH_END)),
        })
    }

    /// Base offset and length of the next batch.
    fn front(&self) -> Option<(i64, i32)> {
        let (base_offset, rest) = self.rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        Some((i64::from_be_bytes(*base_offset), i32::from_be_bytes(*length)))
    }

    fn find(&mut self) -> Result<Option<Batch>, BatchError> {
        let Some((base_offset, length)) = self.front() else { return Ok(None) };
        let error = |kind| BatchError { base_offset, kind };
        let invalid_length = error(BatchErrorKind::InvalidLength(length));
        if length < legacy::MIN_LENGTH {
            return Err(invalid_length);
        }
        let Some(magic) = self.rest.get(MAGIC_END - 1).map(|magic| magic.cast_signed()) else {
            return Ok(None);
        };
        if !(0..=MAGIC).contains(&magic) {
            return Err(error(BatchErrorKind::UnknownMagic(magic)));
        }
        let len = usize::try_from(length).ok().and_then(|length| length.checked_add(LENGTH_END));
        let len = len.ok_or(invalid_length)?;
        if magic == MAGIC && len < LENGTH_END + MIN_LENGTH {
            return Err(invalid_length);
        }
        if len > self.rest.len() {
            return Ok(None);
        }
        let bytes = self.rest.split_to(len);
        let header = match magic {
            MAGIC => bytes.first_chunk::<HEADER_LEN>().and_then(BatchHeader::parse).ok_or(invalid_length)?,
            _ => legacy::header(base_offset, length, &bytes)
                .map_err(|kind| error(BatchErrorKind::Record { index: 0, kind }))?,
        };
        let last_offset = base_offset.checked_add(header.last_offset_delta.into());
        if base_offset < 0 || header.last_offset_delta < 0 || last_offset.is_none_or(|last| last == i64::MAX)
        {
            return Err(error(BatchErrorKind::InvalidOffsets(header.last_offset_delta)));
        }
        Ok(Some(Batch { header, magic, bytes }))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.find();
        self.failed = found.is_err();
        found.transpose()
    }
}

impl std::iter::FusedIterator for Batches {}

/// The beginning of a batch that is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Bytes that are there.
    pub len: usize,
    /// Bytes that the whole batch takes, if there is enough of it to tell. When it is the first of its field, this is
    /// what a fetch has to ask for.
    pub needed: Option<usize>,
}

/// One batch: a header that can be believed as far as its ranges go, and bytes that are not checked yet.
#[derive(Clone, Debug)]
pub struct Batch {
    header: BatchHeader,
    magic: i8,
    bytes: Bytes,
}

/// How to read a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether the CRC is checked. It costs a few nanoseconds a record and finds what TCP and disks let through.
    pub check_crc: bool,
    /// Most bytes that the records may decompress to. Without a number, 64 times the batch and 1 MiB, but never more
    /// than 128 MiB: honest records rarely compress better, and a bomb can't hold more memory.
    pub max_decompressed: Option<usize>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { check_crc: true, max_decompressed: None }
    }
}

impl ReadOptions {
    fn decompressed_limit(&self, batch_len: usize) -> usize {
        let proportional = batch_len.saturating_mul(64).saturating_add(1 << 20);
        self.max_decompressed.unwrap_or(proportional.min(128 << 20))
    }
}

impl Batch {
    /// The fields before the records.
    ///
    /// A message of magic 0 or 1 has few of them: one that is compressed gives only the last offset, as the base offset
    /// too; the rest is known when it is [decoded](Self::decode). Magic 0 has no timestamps: they are -1.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The format: 2, or 0 and 1 for what was written before Kafka 0.11.
    #[must_use]
    pub const fn magic(&self) -> i8 {
        self.magic
    }

    /// The whole batch, header included.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Where reading goes on after this batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.header.next_offset()
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// When the attributes name no compression.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let id = self.header.attributes.compression_id();
        Compression::from_id(id).ok_or_else(|| self.error(CompressionError::Unknown(id).into()))
    }

    /// Holds the CRC against the bytes.
    ///
    /// # Errors
    /// When they differ.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = match self.magic {
            MAGIC => crc(self.bytes.get(CRC_END..).unwrap_or_default()),
            _ => legacy::crc(&self.bytes),
        };
        let stored = self.header.crc;
        if computed == stored {
            return Ok(());
        }
        Err(self.error(BatchErrorKind::CrcMismatch { stored, computed }))
    }

    /// True when [`decode`](Self::decode) leaves the records where they are: nothing is decompressed or put into a newer form.
    #[must_use]
    pub fn is_read_in_place(&self) -> bool {
        self.magic == MAGIC && self.compression() == Ok(Compression::None)
    }

    /// Checks the CRC and decompresses the records into one buffer; records that are not compressed stay where they are.
    ///
    /// # Errors
    /// When the batch is corrupt, or compressed in a way that this build can't undo or `options` don't allow.
    pub fn decode(&self, options: &ReadOptions) -> Result<DecodedBatch, BatchError> {
        self.clone().into_decoded(options)
    }

    /// [`decode`](Self::decode) without another reference to the bytes, which costs more than a record.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn into_decoded(self, options: &ReadOptions) -> Result<DecodedBatch, BatchError> {
        if options.check_crc {
            self.verify_crc()?;
        }
        let limit = options.decompressed_limit(self.bytes.len());
        if self.magic != MAGIC {
            let decoded = legacy::decode(&self.header, &self.bytes, limit, options);
            let (header, payload) = decoded.map_err(|kind| self.error(kind))?;
            return Ok(DecodedBatch { header, payload });
        }
        let compression = self.compression()?;
        let Self { header, bytes: mut payload, .. } = self;
        let error = |kind| BatchError { base_offset: header.base_offset, kind };
        payload.advance(HEADER_LEN.min(payload.len()));
        if compression != Compression::None && !payload.is_empty() {
            let plain = compression::decompress(compression, &payload, limit, HeaderChecksum::Checked);
            let mut plain = plain.map_err(|cause| error(cause.into()))?;
            // It lives as long as its records, and how large they are was not known before.
            plain.shrink_to(plain.len().saturating_add(plain.len() / 8));
            payload = plain.into();
        }
        let count = header.record_count;
        if usize::try_from(count).is_ok_and(|count| count <= payload.len() / MIN_RECORD_LEN) {
            return Ok(DecodedBatch { header, payload });
        }
        Err(error(BatchErrorKind::ImpossibleCount { count, len: payload.len() }))
    }

    fn error(&self, kind: BatchErrorKind) -> BatchError {
        BatchError { base_offset: self.header.base_offset, kind }
    }
}

/// A batch whose records can be read.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    header: BatchHeader,
    payload: Bytes,
}

impl DecodedBatch {
    /// The fields before the records.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of the records, decompressed.
    #[must_use]
    pub fn uncompressed_len(&self) -> usize {
        self.payload.len()
    }

    /// Puts the bytes of the records, decompressed, into other [`Bytes`] of the same content: those of an owner that wants to
    /// know when the last record is dropped, say.
    #[must_use]
    pub fn map_payload(self, map: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self { header: self.header, payload: map(self.payload) }
    }

    /// The records as borrowed views, parsed one at a time.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(self)
    }

    /// The records from a place on that [`Records::place`] gave for this batch.
    ///
    /// ```
    /// # use milena_protocol::records::*;
    /// # let mut builder = BatchBuilder::new(1024);
    /// # for value in [b"a", b"b", b"c"] {
    /// #     builder.append(0, None, Some(value), []).unwrap();
    /// # }
    /// # let bytes = builder.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE);
    /// # let batch = Batches::new(bytes).next().unwrap().unwrap();
    /// let batch: DecodedBatch = batch.decode(&ReadOptions::default())?;
    /// let mut records = batch.records();
    /// assert_eq!(records.next().transpose()?.map(|record| record.offset()), Some(0));
    /// let place = records.place();
    /// assert_eq!(batch.records_from(place).count(), 2);
    /// # Ok::<(), BatchError>(())
    /// ```
    #[must_use]
    pub fn records_from(&self, place: RecordPlace) -> Records<'_> {
        Records::from_place(self, place)
    }

    pub(super) const fn payload(&self) -> &Bytes {
        &self.payload
    }
}

impl<'a> IntoIterator for &'a DecodedBatch {
    type Item = <Records<'a> as Iterator>::Item;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.records()
    }
}

impl IntoIterator for DecodedBatch {
    type Item = <OwnedRecords as Iterator>::Item;
    type IntoIter = OwnedRecords;

    fn into_iter(self) -> OwnedRecords {
        OwnedRecords::new(self)
    }
}
