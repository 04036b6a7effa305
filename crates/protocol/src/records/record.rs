//! Reads the records of one batch: borrowed views first, owned where the user keeps them.

use std::{hint::cold_path, str::Utf8Error};

use bytes::Bytes;

use super::{
    BatchError, BatchErrorKind, BatchHeader, DecodedBatch, RecordErrorKind, TimestampType, cursor::Cursor,
    encode::nullable_len,
};

/// The records of a batch, parsed one at a time. Nothing is allocated.
///
/// After an error there is nothing more: where the next record would begin is not known.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    batch: &'a DecodedBatch,
    cursor: Cursor<'a>,
    /// Records handed out.
    index: i32,
    done: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(batch: &'a DecodedBatch) -> Self {
        Self { batch, cursor: Cursor { rest: batch.payload() }, index: 0, done: false }
    }

    /// Inlined as well, so that nothing holds a reference to the cursor.
    #[inline(always)]
    fn fail(&mut self, kind: BatchErrorKind) -> Option<Result<RecordView<'a>, BatchError>> {
        cold_path();
        self.done = true;
        Some(Err(BatchError { base_offset: self.batch.header().base_offset, kind }))
    }

    #[inline(always)]
    fn parse(&mut self) -> Result<RecordView<'a>, RecordErrorKind> {
        let len = self.cursor.varint()?;
        let len = usize::try_from(len).map_err(|_| RecordErrorKind::InvalidLength(len))?;
        let mut body = Cursor { rest: self.cursor.take(len)? };
        // The record's own attributes have no meaning yet.
        body.take(1)?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let header = self.batch.header();
        if !(0..=header.last_offset_delta).contains(&offset_delta) {
            return Err(RecordErrorKind::InvalidOffset(offset_delta.into()));
        }
        let key = body.nullable_bytes()?;
        let value = body.nullable_bytes()?;
        let headers = Headers::parse(body)?;
        Ok(RecordView {
            payload: self.batch.payload(),
            offset: header.base_offset.saturating_add(offset_delta.into()),
            timestamp: timestamp(header, timestamp_delta),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Records<'a> {
    /// The records from `place` on.
    pub(super) fn from_place(batch: &'a DecodedBatch, place: RecordPlace) -> Self {
        let rest = batch.payload().get(place.at..).unwrap_or_default();
        Self { batch, cursor: Cursor { rest }, index: place.index, done: false }
    }

    /// Where the next record begins.
    #[must_use]
    pub fn place(&self) -> RecordPlace {
        let at = self.batch.payload().len().saturating_sub(self.cursor.rest.len());
        RecordPlace { at, index: self.index }
    }
}

/// A place between two records of a batch, from which reading goes on later without parsing what is before it. The
/// default is the front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordPlace {
    /// Bytes that have been read.
    at: usize,
    /// Records that have been read.
    index: i32,
}

impl RecordPlace {
    /// Bytes that have been read.
    pub(super) const fn at(self) -> usize {
        self.at
    }
}

#[inline]
fn timestamp(header: &BatchHeader, delta: i64) -> i64 {
    match header.attributes.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index == self.batch.header().record_count {
            self.done = true;
            return match self.cursor.rest.len() {
                0 => None,
                left => self.fail(BatchErrorKind::LeftOver(left)),
            };
        }
        match self.parse() {
            Ok(record) => {
                self.index = self.index.saturating_add(1);
                Some(Ok(record))
            }
            Err(kind) => self.fail(BatchErrorKind::Record { index: self.index, kind }),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.header().record_count.saturating_sub(self.index);
        // And one for an error behind the last record.
        (0, Some(usize::try_from(left).unwrap_or(0).saturating_add(1)))
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// One record, as slices of its batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// What the slices are of.
    payload: &'a Bytes,
    offset: i64,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> RecordView<'a> {
    /// Its offset in the partition.
    #[must_use]
    pub const fn offset(&self) -> i64 {
        self.offset
    }

    /// When it was created or appended, whichever the topic has, in milliseconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Its key. Null and empty are different keys.
    #[must_use]
    pub const fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// Its value. Null is a tombstone to compaction, empty is not.
    #[must_use]
    pub const fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// Its headers, in their order.
    #[must_use]
    pub const fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The record without the borrow. No byte is copied, but the whole batch stays in memory as long as the record.
    #[inline]
    #[must_use]
    pub fn to_record(&self) -> Record {
        let own = |slice: &[u8]| self.payload.slice_ref(slice);
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(own),
            value: self.value.map(own),
            headers: RecordHeaders { bytes: own(self.headers.cursor.rest), count: self.headers.count },
        }
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// UTF-8 by agreement, but nobody checks: [`name_str`](Self::name_str) does.
    pub name: &'a [u8],
    /// Null and empty are different values.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// A header called `name`.
    #[must_use]
    pub const fn new(name: &'a str, value: Option<&'a [u8]>) -> Self {
        Self { name: name.as_bytes(), value }
    }

    /// The name as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn name_str(&self) -> Result<&'a str, Utf8Error> {
        str::from_utf8(self.name)
    }

    #[inline]
    pub(super) fn encoded_len(&self) -> usize {
        nullable_len(Some(self.name)).saturating_add(nullable_len(self.value))
    }
}

/// The headers of a record, in their order and with duplicates, read when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// Walked through once already, so what is read here is well formed.
    cursor: Cursor<'a>,
    count: u32,
}

impl<'a> Headers<'a> {
    /// Takes the rest of a record, and checks it through.
    #[inline(always)]
    fn parse(mut body: Cursor<'a>) -> Result<Self, RecordErrorKind> {
        let count = body.varint()?;
        if count == 0 && body.rest.is_empty() {
            return Ok(Self { cursor: body, count: 0 });
        }
        Self::check(body, count)
    }

    fn check(body: Cursor<'a>, count: i32) -> Result<Self, RecordErrorKind> {
        let invalid = RecordErrorKind::InvalidHeaderCount(count);
        let checked = u32::try_from(count).map_err(|_| invalid)?;
        // A header takes two bytes at least.
        if checked as usize > body.rest.len() / 2 {
            return Err(invalid);
        }
        let mut rest = body;
        for _ in 0..checked {
            header(&mut rest)?;
        }
        match rest.rest.len() {
            0 => Ok(Self { cursor: body, count: checked }),
            left => Err(RecordErrorKind::LeftOver(left)),
        }
    }

    /// How many are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// True when none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Result<Header<'a>, RecordErrorKind> {
    let name = cursor.nullable_bytes()?.ok_or(RecordErrorKind::NullHeaderName)?;
    Ok(Header { name, value: cursor.nullable_bytes()? })
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        header(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// One record, kept by shares of its batch's buffer.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was created or appended, whichever the topic has, in milliseconds since 1970.
    pub timestamp: i64,
    /// Its key. Null and empty are different keys.
    pub key: Option<Bytes>,
    /// Its value. Null is a tombstone to compaction, empty is not.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: RecordHeaders,
}

/// The headers of a [`Record`], as they came.
#[derive(Clone, Debug, Default)]
pub struct RecordHeaders {
    bytes: Bytes,
    count: u32,
}

impl RecordHeaders {
    /// The headers, in their order.
    #[must_use]
    pub fn iter(&self) -> Headers<'_> {
        Headers { cursor: Cursor { rest: &self.bytes }, count: self.count }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// True when there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> IntoIterator for &'a RecordHeaders {
    type Item = Header<'a>;
    type IntoIter = Headers<'a>;

    fn into_iter(self) -> Headers<'a> {
        self.iter()
    }
}

/// The records of a batch, each by shares of the batch's buffer. It can be put aside and taken up again.
#[derive(Debug)]
pub struct OwnedRecords {
    batch: DecodedBatch,
    /// Bytes that have been read.
    at: usize,
    index: i32,
    done: bool,
}

impl OwnedRecords {
    pub(super) fn new(batch: DecodedBatch) -> Self {
        Self { batch, at: 0, index: 0, done: false }
    }

    /// The batch they are from.
    #[must_use]
    pub const fn batch(&self) -> &DecodedBatch {
        &self.batch
    }

    /// The next record as a view.
    #[inline]
    pub fn next_view(&mut self) -> Option<Result<RecordView<'_>, BatchError>> {
        let payload = self.batch.payload();
        let rest = payload.get(self.at..).unwrap_or_default();
        let mut records =
            Records { batch: &self.batch, cursor: Cursor { rest }, index: self.index, done: self.done };
        let next = records.next();
        self.at = payload.len().saturating_sub(records.cursor.rest.len());
        self.index = records.index;
        self.done = records.done;
        next
    }
}

impl Iterator for OwnedRecords {
    type Item = Result<Record, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_view().map(|record| record.map(|record| record.to_record()))
    }
}

impl std::iter::FusedIterator for OwnedRecords {}
