//! Asks a broker which brokers it knows: one Metadata request (version 1, no topics) over a plain socket.
//!
//! By hand, so that the cluster can be brought up to test a client that does not work yet.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Bounds connecting, and each read and write.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The answer of three brokers takes about 100 bytes.
const FRAME_LIMIT: u32 = 64 * 1024;

const CORRELATION_ID: u32 = 0x6d69_6c61;

/// The ids of the brokers that the broker at `address` reports as alive, sorted.
pub(crate) fn live_brokers(address: SocketAddr) -> io::Result<Vec<i32>> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&request())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > FRAME_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a Kafka broker: the frame is too large"));
    }
    let mut frame = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut frame)?;
    broker_ids(&frame)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a Metadata response of version 1"))
}

/// Connects from a loopback address that no broker listens on.
///
/// The brokers' ports lie in the range from which the kernel takes the local ports of connections. A connection from
/// 127.0.0.1 would sooner or later get a broker's own port, and keep it for a minute after it was closed; one to a
/// broker that is down could even be connected to itself.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv4() && cfg!(target_os = "linux") {
        socket.bind(&SOURCE.into())?;
    }
    socket.connect_timeout(&address.into(), TIMEOUT)?;
    Ok(socket.into())
}

fn request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(3_i16.to_be_bytes()); // Metadata
    body.extend(1_i16.to_be_bytes()); // the last version without an allowed auto-creation of topics
    body.extend(CORRELATION_ID.to_be_bytes());
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend(0_i32.to_be_bytes()); // no topics; null would mean all
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

fn broker_ids(mut frame: &[u8]) -> Option<Vec<i32>> {
    let correlation_id = u32::from_be_bytes(take(&mut frame)?);
    let count = i32::from_be_bytes(take(&mut frame)?);
    if correlation_id != CORRELATION_ID || count < 0 {
        return None;
    }
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(i32::from_be_bytes(take(&mut frame)?));
        skip_string(&mut frame)?; // host
        let _port: [u8; 4] = take(&mut frame)?;
        skip_string(&mut frame)?; // rack
    }
    ids.sort_unstable();
    Some(ids)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn skip_string(bytes: &mut &[u8]) -> Option<()> {
    // A null string has length -1 and no bytes.
    let length = usize::try_from(i16::from_be_bytes(take(bytes)?)).unwrap_or(0);
    *bytes = bytes.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Vec<u8> {
        let mut frame = CORRELATION_ID.to_be_bytes().to_vec();
        frame.extend(2_i32.to_be_bytes());
        for (id, rack) in [(3_i32, Some(b"rack-c")), (1, None)] {
            frame.extend(id.to_be_bytes());
            frame.extend(b"\0\x09127.0.0.1");
            frame.extend(41_092_i32.to_be_bytes());
            match rack {
                Some(rack) => frame.extend([b"\0\x06", rack.as_slice()].concat()),
                None => frame.extend((-1_i16).to_be_bytes()),
            }
        }
        frame
    }

    #[test]
    fn broker_ids_are_read_and_sorted() {
        assert_eq!(broker_ids(&response()), Some(vec![1, 3]));
    }

    #[test]
    fn a_response_cut_anywhere_or_meant_for_another_request_is_refused() {
        let frame = response();
        for end in 0..frame.len() {
            assert_eq!(broker_ids(&frame[..end]), None, "cut at {end}");
        }
        let mut other = frame;
        other[3] ^= 1;
        assert_eq!(broker_ids(&other), None);
    }

    #[test]
    fn the_request_is_framed_by_its_length() {
        let request = request();
        assert_eq!(request.len(), 4 + 14);
        assert_eq!(&request[..8], [0, 0, 0, 14, 0, 3, 0, 1]);
    }
}
