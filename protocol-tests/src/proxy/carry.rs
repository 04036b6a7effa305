//! Carries frames to their side of a connection, through whatever weather there is.

use std::{future::Future, io, pin::pin, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Shared,
    weather::{Event, Local, Way},
};

/// Frames on their way in one direction of a connection: more wait on the other side.
const ON_THE_WAY: usize = 64;
/// A narrow network hands on what fits into so much of a second.
const PULSE: u32 = 20;

/// What puts frames on their way.
pub(super) type Sender = mpsc::Sender<(Instant, Bytes)>;

/// One direction: `read` puts frames on their way and says at last how the connection ends; they are carried to `stream`
/// meanwhile, and to the last one after that.
pub(super) async fn one_way<E, F: Future<Output = io::Result<E>>>(
    way: Way,
    stream: &mut (impl AsyncWrite + Unpin),
    (shared, broker): (&Shared, u16),
    read: impl FnOnce(Sender) -> F,
) -> io::Result<E> {
    let (sender, frames) = mpsc::channel(ON_THE_WAY);
    let (mut read, mut carry) = (pin!(read(sender)), pin!(carry(way, stream, shared, broker, frames)));
    tokio::select! {
        biased;
        end = &mut read => {
            carry.await?;
            end
        }
        carried = &mut carry => {
            carried?;
            read.await
        }
    }
}

/// Puts a frame on its way.
pub(super) async fn send(sender: &Sender, frame: &Bytes) -> io::Result<()> {
    let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut whole = BytesMut::with_capacity(frame.len() + 4);
    whole.put_u32(len);
    whole.extend_from_slice(frame);
    let gone = |_| io::ErrorKind::BrokenPipe.into();
    sender.send((Instant::now(), whole.freeze())).await.map_err(gone)
}

async fn carry(
    way: Way,
    stream: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
    broker: u16,
    mut frames: mpsc::Receiver<(Instant, Bytes)>,
) -> io::Result<()> {
    let (mut network, mut news) = (shared.sky.over(broker), shared.sky.over(broker));
    loop {
        let carried = async {
            let Some((came, frame)) = frames.recv().await else { return Ok(false) };
            sleep_until(came + network.weather().latency(way)).await;
            match shared.take_cut(broker, way) {
                Some(bytes) => {
                    let part = frame.slice(..bytes.min(frame.len().saturating_sub(1)));
                    write(way, stream, &mut network, &part).await?;
                    Err(io::ErrorKind::ConnectionAborted.into())
                }
                None => write(way, stream, &mut network, &frame).await.map(|()| true),
            }
        };
        let is_half_closed = tokio::select! {
            carried = carried => match carried? {
                true => false,
                false => {
                    // Nobody hears of the end of a connection in a black hole.
                    network.until_open(way).await;
                    return Ok(());
                }
            },
            () = half_close(way, &mut news) => true,
        };
        if is_half_closed {
            // The rest goes nowhere, and the other direction goes on.
            stream.shutdown().await?;
            while frames.recv().await.is_some() {}
            return Ok(());
        }
    }
}

async fn half_close(way: Way, news: &mut Local) {
    while news.event().await != Event::HalfClose(way) {}
}

async fn write(
    way: Way,
    stream: &mut (impl AsyncWrite + Unpin),
    network: &mut Local,
    mut bytes: &[u8],
) -> io::Result<()> {
    while !bytes.is_empty() {
        network.until_open(way).await;
        let weather = network.weather();
        let pulse = weather.bytes_per_second.map(|rate| (rate / PULSE).max(1) as usize);
        let piece = weather.piece.into_iter().chain(pulse).min().unwrap_or(bytes.len()).clamp(1, bytes.len());
        let (now, later) = bytes.split_at(piece);
        stream.write_all(now).await?;
        bytes = later;
        if let Some(rate) = weather.bytes_per_second {
            sleep(Duration::from_secs_f64(piece as f64 / f64::from(rate.max(1)))).await;
        } else if weather.piece.is_some() {
            // So that the pieces are read one by one.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
