//! Kafka's UUID: sixteen bytes, shown as URL-safe base64 without padding.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A topic id, a cluster's directory id or a member's id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// A text that is not the base64 form of a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a UUID is 22 characters of URL-safe base64")]
pub struct InvalidUuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// All bits zero: "none" wherever the protocol has a UUID.
    pub const ZERO: Self = Self([0; 16]);

    /// The UUID of these bytes, as they stand on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// True for [`Uuid::ZERO`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// A random UUID of version 4 made from 128 random bits, which are the caller's to find.
    #[must_use]
    pub const fn from_random(bits: u128) -> Self {
        // Version 4 in the seventh byte, variant 1 in the ninth (RFC 9562).
        let bits = bits & !(0xf000 << 64) & !(0xc000 << 48) | (0x4000 << 64) | (0x8000 << 48);
        Self(bits.to_be_bytes())
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits are 21 digits of six bits and one of two, which base64 pads with zero bits on the right.
        let bits = u128::from_be_bytes(self.0);
        let rights = (2..128).step_by(6).rev().map(|shift| bits.wrapping_shr(shift));
        for six in rights.chain([bits << 4]) {
            let six = six & 0x3f;
            let letter = ALPHABET.get(six as usize).copied().unwrap_or(b'?');
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        let text = text.strip_suffix("==").unwrap_or(text);
        if text.len() != 22 {
            return Err(InvalidUuid);
        }
        let mut bits = 0u128;
        for (at, letter) in text.bytes().enumerate() {
            let six = ALPHABET.iter().position(|&known| known == letter).ok_or(InvalidUuid)? as u128;
            if at < 21 {
                bits = bits << 6 | six;
            } else {
                bits = bits << 2 | six >> 4;
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_as_java_prints_it() {
        let uuid = Uuid::from_bytes([
            0x5d, 0xf0, 0x4e, 0x2d, 0xd1, 0xe0, 0x4a, 0xce, 0x90, 0x3e, 0xa3, 0x7f, 0x12, 0x00, 0xff, 0x01,
        ]);
        assert_eq!(uuid.to_string(), "XfBOLdHgSs6QPqN_EgD_AQ");
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!("short".parse::<Uuid>(), Err(InvalidUuid));
    }

    #[test]
    fn random_uuids_are_of_version_4() {
        let uuid = Uuid::from_random(u128::MAX);
        assert_eq!(uuid.as_bytes()[6] >> 4, 4);
        assert_eq!(uuid.as_bytes()[8] >> 6, 0b10);
    }
}
