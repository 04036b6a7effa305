//! A presigned URL by AWS's Signature Version 4, as far as a login to MSK needs it: one service, one action, no body.
//!
//! # References
//! "Authenticating requests: using query parameters" in AWS's documentation of Signature Version 4;
//! aws-msk-iam-sasl-signer-python, whose URLs are a fixture.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{AwsCredentials, MskIamError};

const SERVICE: &str = "kafka-cluster";
/// How long a broker takes the URL, in seconds: the most that MSK allows.
const EXPIRY: u32 = 900;
const DAY: u64 = 24 * 60 * 60;

/// The URL that proves who the client is, to whoever reads it. `user_agent` says which program made it; it is not signed.
pub(super) fn presigned_url(
    now: SystemTime,
    region: &str,
    credentials: &AwsCredentials,
    user_agent: &str,
) -> Result<Zeroizing<String>, MskIamError> {
    let moment = Moment::of(now)?;
    let scope = format!("{}/{region}/{SERVICE}/aws4_request", moment.date);
    let host = format!("kafka.{region}.amazonaws.com");
    let credential = format!("{}/{scope}", credentials.access_key_id);
    let expiry = EXPIRY.to_string();
    let parameters = [
        ("Action", "kafka-cluster:Connect"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &moment.time),
        ("X-Amz-Expires", &expiry),
    ];
    let session = credentials.session_token.as_ref().map(|token| ("X-Amz-Security-Token", token.expose()));
    let signed_headers = [("X-Amz-SignedHeaders", "host")];
    // What is signed is in the order of the names.
    let signed = query(parameters.into_iter().chain(session).chain(signed_headers));
    let empty = hex(&Sha256::digest(b""));
    let request = Zeroizing::new(format!("GET\n/\n{}\nhost:{host}\n\nhost\n{empty}", signed.as_str()));
    let hash = hex(&Sha256::digest(request.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", moment.time);
    let key = signing_key(credentials.secret_access_key.expose(), &moment.date, region, SERVICE);
    let signature = hex(&*hmac(&*key, &to_sign));
    // Brokers read the parameters in any order; this is the one in which AWS's own programs write them.
    let proof = [("X-Amz-Signature", signature.as_str()), ("User-Agent", user_agent)];
    let all = query(parameters.into_iter().chain(signed_headers).chain(session).chain(proof));
    Ok(Zeroizing::new(format!("https://{host}/?{}", all.as_str())))
}

/// A key that is good for one day, region and service.
fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> Zeroizing<[u8; 32]> {
    let secret = Zeroizing::new(format!("AWS4{secret}"));
    let of_date = hmac(secret.as_bytes(), date);
    let of_region = hmac(&*of_date, region);
    let of_service = hmac(&*of_region, service);
    hmac(&*of_service, "aws4_request")
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    // A key may have any length, so there always is one.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text.as_bytes()));
    Zeroizing::new(mac.map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default())
}

fn query<'p>(parameters: impl IntoIterator<Item = (&'p str, &'p str)>) -> Zeroizing<String> {
    let mut query = Zeroizing::new(String::new());
    for (name, value) in parameters {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'~' => query.push(byte.into()),
                _ if byte.is_ascii_alphanumeric() => query.push(byte.into()),
                // Writing to a string does not fail.
                _ => _ = write!(query, "%{byte:02X}"),
            }
        }
    }
    query
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// A moment as AWS writes it, in UTC.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    /// As in 20150830.
    date: String,
    /// As in 20150830T123600Z.
    time: String,
}

impl Moment {
    fn of(now: SystemTime) -> Result<Self, MskIamError> {
        let seconds = now.duration_since(UNIX_EPOCH).map_err(|_| MskIamError::Clock)?.as_secs();
        let (mut year, mut days) = (1970, seconds / DAY);
        // Nobody signs in the year 10000.
        while days >= days_of(year) {
            days -= days_of(year);
            year += 1;
            if year > 9_999 {
                return Err(MskIamError::Clock);
            }
        }
        let mut month = 1;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        let date = format!("{year:04}{month:02}{:02}", days + 1);
        let (hour, minute, second) = (seconds % DAY / 3_600, seconds % 3_600 / 60, seconds % 60);
        let time = format!("{date}T{hour:02}{minute:02}{second:02}Z");
        Ok(Self { date, time })
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// "Deriving a signing key" in AWS's documentation.
    #[test]
    fn the_key_of_the_documentation() {
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam");
        assert_eq!(hex(&*key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_400, "21000301T000000Z"),
            (253_402_300_799, "99991231T235959Z"),
        ] {
            let moment = Moment::of(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            assert_eq!((moment.time.as_str(), moment.date.as_str()), (expected, &expected[..8]));
        }
        for clock in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(253_402_300_800)]
        {
            assert_eq!(Moment::of(clock), Err(MskIamError::Clock));
        }
    }
}
