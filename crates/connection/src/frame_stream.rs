//! Frames on a byte stream.

use std::io::ErrorKind;

use bytes::{Buf, Bytes, BytesMut};
use milena_protocol::frame::{self, LENGTH_PREFIX};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::ConnectionError;

/// How much is read ahead.
const READ_AHEAD: usize = 64 * 1024;
/// The most that is reserved for a frame of which nothing has arrived: a length is only a claim. From there the buffer
/// doubles as bytes come in. From a peer that has sent a longer frame before, twice its length is believed at once.
const FIRST_RESERVE: usize = 1024 * 1024;

/// Cuts a byte stream into frames. Each frame is a slice of the buffer it was read into; a long one has it for itself, so
/// that the memory goes when the frame is dropped.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
    /// The longest frame that has come, its length included.
    longest: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, limit: usize) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(READ_AHEAD), limit, longest: 0 }
    }

    /// The next frame, without its length.
    ///
    /// Cancel safe: what was read stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Bytes, ConnectionError> {
        loop {
            let wanted = match self.buffer.first_chunk::<LENGTH_PREFIX>() {
                Some(prefix) => {
                    let len = frame::frame_len(*prefix, self.limit).map_err(ConnectionError::Frame)?;
                    let wanted = LENGTH_PREFIX + len;
                    if self.buffer.len() >= wanted {
                        self.longest = self.longest.max(wanted);
                        let mut whole = self.buffer.split_to(wanted);
                        whole.advance(LENGTH_PREFIX);
                        if wanted > READ_AHEAD {
                            self.buffer = with_room(&self.buffer, READ_AHEAD / 2);
                        }
                        return Ok(whole.freeze());
                    }
                    wanted
                }
                None => LENGTH_PREFIX,
            };
            let missing = wanted.saturating_sub(self.buffer.len());
            let believed = FIRST_RESERVE.max(self.buffer.len()).max(self.longest.saturating_mul(2));
            let room = missing.min(believed).max(READ_AHEAD / 2);
            if self.buffer.capacity().saturating_sub(self.buffer.len()) < room
                && !self.buffer.try_reclaim(room)
            {
                self.buffer = with_room(&self.buffer, room);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(_) => {}
                // A peer that hangs up without the farewell of TLS. Nothing is taken that is not a whole frame.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(ConnectionError::Closed);
                }
                Err(error) => return Err(ConnectionError::Io(error)),
            }
        }
    }
}

/// The same bytes, with room for more: so much and no more, where a buffer that grows by itself would double.
fn with_room(bytes: &[u8], room: usize) -> BytesMut {
    let mut larger = BytesMut::with_capacity(bytes.len().saturating_add(room).max(READ_AHEAD));
    larger.extend_from_slice(bytes);
    larger
}

/// Writes all that is left of `bytes` in as few vectored writes as it takes.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    bytes: &mut impl Buf,
) -> std::io::Result<()> {
    stream.write_all_buf(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use milena_protocol::wire::Writer;

    use super::*;

    #[tokio::test]
    async fn frames_survive_any_cut_of_the_stream() {
        let mut written = Vec::new();
        let lens = [1usize, 0, 70_000, 5];
        for len in lens {
            written.extend((len as u32).to_be_bytes());
            written.extend(std::iter::repeat_n(len as u8, len));
        }
        for chunk in [1, 3, 4, 5, 1000, 70_009, usize::MAX] {
            let mut reader = tokio_test_reader(&written, chunk);
            for len in lens {
                let frame = reader.next().await.unwrap();
                assert_eq!(frame, vec![len as u8; len], "chunk {chunk}");
            }
            assert!(matches!(reader.next().await, Err(ConnectionError::Closed)));
        }
    }

    fn tokio_test_reader(bytes: &[u8], chunk: usize) -> FrameReader<Chunked> {
        FrameReader::new(Chunked { bytes: Bytes::copy_from_slice(bytes), chunk }, 1 << 20)
    }

    struct Chunked {
        bytes: Bytes,
        chunk: usize,
    }

    impl AsyncRead for Chunked {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            target: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let len = self.chunk.min(self.bytes.len()).min(target.remaining());
            target.put_slice(&self.bytes.split_to(len));
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let mut reader = FrameReader::new(&[0x7f, 0xff, 0xff, 0xff, 1, 2][..], 1 << 20);
        let error = reader.next().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a frame of 2147483647 bytes is announced, over the limit of 1048576; does the peer speak Kafka?"
        );
        assert!(reader.buffer.capacity() <= 2 * READ_AHEAD);
    }

    #[tokio::test]
    async fn a_large_claim_reserves_little() {
        let claim = 100 << 20;
        let mut bytes = (claim as u32).to_be_bytes().to_vec();
        bytes.push(1);
        let mut reader = FrameReader::new(&bytes[..], claim);
        assert!(matches!(reader.next().await, Err(ConnectionError::Closed)));
        assert!(reader.buffer.capacity() <= 2 * FIRST_RESERVE, "{}", reader.buffer.capacity());
    }

    /// What a frame is read into, and how much of that is kept for the ones to come.
    #[tokio::test]
    async fn a_long_frame_takes_its_length_and_leaves_with_it() {
        let len = 5 << 20;
        let mut bytes = (len as u32).to_be_bytes().to_vec();
        bytes.resize(bytes.len() + len, 7);
        let mut reader = FrameReader::new(&bytes[..], len);
        let mut first = BytesMut::from(reader.next().await.unwrap());
        assert!(first.iter().all(|byte| *byte == 7));
        // Its buffer is nobody else's.
        assert!(first.try_reclaim(1) || first.capacity() >= len);
        assert!(first.capacity() <= len + READ_AHEAD, "{}", first.capacity());
        assert!(reader.buffer.capacity() <= READ_AHEAD);

        // One as long is believed: its room is made once it has begun.
        reader.stream = &bytes[..READ_AHEAD];
        assert!(matches!(reader.next().await, Err(ConnectionError::Closed)));
        let capacity = reader.buffer.capacity();
        assert!((len..len + 2 * READ_AHEAD).contains(&capacity), "{capacity}");
    }

    #[tokio::test]
    async fn slices_are_written_in_order_whatever_the_stream_takes() {
        let payloads: Vec<Bytes> = (0..5u8).map(|byte| vec![byte; 3000].into()).collect();
        let mut frames = Writer::new();
        payloads.iter().for_each(|payload| frames.bytes(false, payload).unwrap());
        let expected: Vec<u8> = frames.chunks().slices().collect::<Vec<_>>().concat();
        assert_eq!(expected.len(), 5 * 3004);
        let mut slices = frames.chunks();
        let (mut near, mut far) = tokio::io::duplex(700);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        write_all(&mut near, &mut slices).await.unwrap();
        drop(near);
        assert_eq!(reading.await.unwrap(), expected);
        assert_eq!(slices.remaining(), 0);
    }
}
