//! The byte stream under a connection: a socket, or whatever a [`Dial`] makes.

use std::{
    fmt,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::Address;

/// A byte stream that is no TCP socket of ours.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A stream under way.
pub(crate) type Dialed = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

/// Makes the byte streams to brokers in place of TCP: through a proxy, a tunnel, or within the process.
///
/// A closure that returns a future is one. It is asked for every connection, with the address that the cluster
/// advertises, under the setup timeout; an error counts as a broker that can't be reached.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn(Address) -> Dialed + Send + Sync>);

impl Dial {
    /// Connects with `dial`.
    pub fn new<F, S>(dial: impl Fn(Address) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Arc::new(move |address| {
            let dialed = dial(address);
            Box::pin(async move { Ok(Box::new(dialed.await?) as Box<dyn ByteStream>) })
        }))
    }

    pub(crate) fn dial(&self, address: Address) -> Dialed {
        (self.0)(address)
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// The receiving half.
pub(crate) enum Receiving {
    Tcp(OwnedReadHalf),
    Other(ReadHalf<Box<dyn ByteStream>>),
}

/// The sending half.
pub(crate) enum Sending {
    Tcp(OwnedWriteHalf),
    Other(WriteHalf<Box<dyn ByteStream>>),
}

/// The most slices that one write gathers.
const SLICES: usize = 64;

impl Sending {
    /// Whether [`try_write`](Self::try_write) is of any use.
    pub(crate) const fn has_try_write(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Writes what there is room for, and does not wait for more. What is left stays in `bytes`.
    pub(crate) fn try_write(&self, bytes: &mut impl Buf) -> io::Result<()> {
        let Self::Tcp(half) = self else { return Ok(()) };
        while bytes.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = bytes.chunks_vectored(&mut slices);
            match half.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}

impl AsyncRead for Receiving {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            Self::Other(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Sending {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(cx, bytes),
            Self::Other(half) => Pin::new(half).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write_vectored(cx, slices),
            Self::Other(half) => Pin::new(half).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(half) => half.is_write_vectored(),
            Self::Other(half) => half.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_flush(cx),
            Self::Other(half) => Pin::new(half).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Self::Other(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}
