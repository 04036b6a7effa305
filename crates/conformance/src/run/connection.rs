//! One TCP connection: frames go out, frames come in, each within its time.

use std::{io, time::Duration};

use bytes::Bytes;
use milena_protocol::frame::{LENGTH_PREFIX, frame_len};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest that a connection may take to come about, or a request to leave.
const SETUP: Duration = Duration::from_secs(10);

/// Longest answer.
const MAX_FRAME: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
#[error("{address}: {kind}")]
pub(super) struct Broken {
    pub(super) address: String,
    pub(super) kind: BrokenKind,
}

#[derive(Debug, Error)]
pub(super) enum BrokenKind {
    #[error("can't connect: {0}")]
    Connect(io::Error),
    #[error("the connection broke: {0}")]
    Io(io::Error),
    #[error("the broker closed the connection")]
    Closed,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("what came is no answer: {0}")]
    Frame(String),
}

#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    next_id: i32,
}

impl Connection {
    pub(super) async fn open(address: &str) -> Result<Self, Broken> {
        let broken = |kind| Broken { address: address.to_owned(), kind };
        let stream = timeout(SETUP, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| broken(BrokenKind::Timeout(SETUP)))?;
        let stream = stream.map_err(|error| broken(BrokenKind::Connect(error)))?;
        stream.set_nodelay(true).map_err(|error| broken(BrokenKind::Io(error)))?;
        Ok(Self { address: address.to_owned(), stream, next_id: 1 })
    }

    /// The correlation id of the next request.
    pub(super) fn next_id(&mut self) -> i32 {
        self.next_id = self.next_id.wrapping_add(1) & i32::MAX;
        self.next_id
    }

    pub(super) async fn send(&mut self, frame: &[u8]) -> Result<(), Broken> {
        match timeout(SETUP, self.stream.write_all(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(Broken { address: self.address.clone(), kind: BrokenKind::Timeout(SETUP) }),
        }
    }

    /// The next frame, without its length.
    pub(super) async fn receive(&mut self, within: Duration) -> Result<Bytes, Broken> {
        match timeout(within, self.frame()).await {
            Ok(received) => received,
            Err(_) => Err(Broken { address: self.address.clone(), kind: BrokenKind::Timeout(within) }),
        }
    }

    async fn frame(&mut self) -> Result<Bytes, Broken> {
        let mut prefix = [0; LENGTH_PREFIX];
        self.stream.read_exact(&mut prefix).await.map_err(|error| self.broken(error))?;
        let length = frame_len(prefix, MAX_FRAME).map_err(|error| Broken {
            address: self.address.clone(),
            kind: BrokenKind::Frame(error.to_string()),
        })?;
        let mut frame = Vec::new();
        let mut limited = (&mut self.stream).take(length as u64);
        let read = limited.read_to_end(&mut frame).await.map_err(|error| self.broken(error))?;
        if read < length {
            return Err(Broken { address: self.address.clone(), kind: BrokenKind::Closed });
        }
        Ok(frame.into())
    }

    fn broken(&self, error: io::Error) -> Broken {
        let closed =
            [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        let kind = if closed.contains(&error.kind()) { BrokenKind::Closed } else { BrokenKind::Io(error) };
        Broken { address: self.address.clone(), kind }
    }
}
