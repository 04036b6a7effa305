//! Byte streams: accepts TCP connections for one broker, reads frames, writes replies. A connection need not be a socket:
//! see [`Dialer`](crate::Dialer).
//!
//! A connection is one task. It does not read on while a request of it is parked, or while the peer does not take its
//! replies: what a client can make the broker hold is its frame and its reply.

use std::{io, sync::Arc};

use bytes::{Buf, BytesMut};
use milena_protocol::frame::{LENGTH_PREFIX, frame_len};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    core::{BrokerId, ConnectionId, Output},
    outbox::Outbox,
    shared::Shared,
};

/// Bytes that are read at once, and that may be read ahead while a request is parked.
const READ_AHEAD: usize = 64 << 10;

/// Requests carried out before their replies are written.
const PIPELINED: usize = 32;

/// How long a TLS handshake may take.
#[cfg(feature = "tls")]
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a listener needs to know besides its socket.
#[derive(Clone)]
pub(crate) struct Listening {
    pub(crate) shared: Arc<Shared>,
    pub(crate) broker: BrokerId,
    pub(crate) max_frame_bytes: usize,
    pub(crate) max_connections: usize,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsAcceptor>,
    /// Turns true when the listener is to end.
    pub(crate) closing: watch::Receiver<bool>,
}

/// Accepts connections until told to end, then waits for their tasks. Dropping the future ends them at once.
pub(crate) async fn listen(listening: Listening, listener: TcpListener) {
    let mut connections = JoinSet::new();
    let mut closing = listening.closing.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match accepted {
            Ok((socket, _)) => {
                // Replies are written whole, so waiting for more to send would only add latency.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "connection ended");
                } else if let Some(accepted) = listening.accept() {
                    connections.spawn(welcome(accepted, socket));
                }
            }
            // Out of file descriptors, mostly. It would fail again at once.
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves a socket, behind TLS where that is spoken.
async fn welcome(accepted: Accepted, socket: TcpStream) {
    #[cfg(feature = "tls")]
    if let Some(tls) = accepted.listening.tls.clone() {
        // A client that does not get on with the handshake must not stay for ever.
        match tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
            Ok(Ok(stream)) => {
                let (reader, writer) = tokio::io::split(stream);
                accepted.serve(reader, writer).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "no TLS connection"),
            Err(_) => tracing::debug!("no TLS connection in time"),
        }
        return;
    }
    let (reader, writer) = socket.into_split();
    accepted.serve(reader, writer).await;
}

impl Listening {
    /// A connection, unless the broker is stopped or there are too many.
    pub(crate) fn accept(&self) -> Option<Accepted> {
        let (id, outputs) = self.shared.connect(self.broker, self.max_connections)?;
        Some(Accepted { listening: self.clone(), id, outputs })
    }
}

/// A connection that the cluster knows, with what is to be written to it.
pub(crate) struct Accepted {
    listening: Listening,
    id: ConnectionId,
    outputs: mpsc::UnboundedReceiver<Output>,
}

/// Tells the cluster that the connection is gone, also when its task is dropped.
impl Drop for Accepted {
    fn drop(&mut self) {
        self.listening.shared.disconnect(self.id);
    }
}

impl Accepted {
    /// Reads requests and writes replies until either side has enough.
    pub(crate) async fn serve(mut self, reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) {
        if let Err(error) = self.exchange(reader, writer).await {
            tracing::debug!(connection = self.id.0, %error, "connection ended");
        }
    }

    async fn exchange(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let Self { listening, id, outputs } = self;
        let id = *id;
        let mut closing = listening.closing.clone();
        let mut resumed = listening.shared.resumed();
        let mut input = BytesMut::with_capacity(READ_AHEAD);
        let mut outbox = Outbox::default();
        let mut parked = false;
        loop {
            let mut requests = 0;
            while !parked && requests < PIPELINED {
                let Some(frame) = next_frame(&mut input, listening.max_frame_bytes)? else { break };
                parked = listening.shared.request(listening.broker, id, frame);
                requests += 1;
            }
            let mut next = outputs.try_recv().ok();
            if next.is_none() && requests < PIPELINED {
                // In this order always: a run on a paused clock must repeat.
                tokio::select! {
                    biased;
                    output = outputs.recv() => next = output,
                    read = reader.read_buf(&mut input), if !parked || input.len() < READ_AHEAD => {
                        if read? == 0 {
                            return Ok(());
                        }
                    }
                    _ = resumed.changed(), if parked => parked = listening.shared.is_parked(id),
                    _ = closing.wait_for(|closing| *closing) => return Ok(()),
                }
            }
            let mut ends = false;
            while let Some(output) = next {
                match output {
                    Output::Frame(frame) => {
                        outbox.push(frame);
                        // It may answer a request before the parked one.
                        parked = parked && listening.shared.is_parked(id);
                    }
                    Output::Close => ends = true,
                }
                next = outputs.try_recv().ok();
            }
            if outbox.has_remaining() {
                writer.write_all_buf(&mut outbox).await?;
                writer.flush().await?;
            }
            if ends {
                return Ok(());
            }
        }
    }
}

/// The next frame without its length, if all of it is there; else room for more of it.
fn next_frame(input: &mut BytesMut, max_bytes: usize) -> io::Result<Option<bytes::Bytes>> {
    let needed = match input.first_chunk() {
        None => LENGTH_PREFIX,
        Some(prefix) => {
            let len = frame_len(*prefix, max_bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            LENGTH_PREFIX.saturating_add(len)
        }
    };
    if input.len() >= needed && input.len() >= LENGTH_PREFIX {
        let mut frame = input.split_to(needed).freeze();
        frame.advance(LENGTH_PREFIX);
        return Ok(Some(frame));
    }
    // Room for what is announced, but never more than doubles what has come.
    let missing = needed.saturating_sub(input.len());
    input.reserve(missing.min(input.len()).max(READ_AHEAD));
    Ok(None)
}
