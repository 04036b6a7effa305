//! The compressions a batch can name, and those this build can do.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;

use thiserror::Error;

pub(super) use lz4::HeaderChecksum;

/// How the records of a batch are compressed, by the ids of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy; in the framing of Java's xerial library where Kafka writes it, bare where some clients do.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

impl Compression {
    /// The compression with this id in a batch's attributes.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// Its id in a batch's attributes.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// A compression and how hard it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codec {
    compression: Compression,
    level: Option<i32>,
}

impl Codec {
    /// `compression` at `level`. A higher level makes smaller batches for more time (KIP-390):
    ///
    /// - gzip takes 1 to 9, and has 4 when none is given. Elsewhere it is 6, for nearly twice the time and 5 % less bytes.
    /// - zstd takes -7 to 4, and has 1 when none is given. Java has 3, and levels up to 22, which no encoder in safe Rust
    ///   has. Whatever the level, a batch is read by every client.
    /// - LZ4 and snappy have none. Java's levels of LZ4 (1 to 17) choose between encoders of which there is only the fast
    ///   one here; a level that changes nothing is refused rather than taken.
    ///
    /// # Errors
    /// When the compression has no such level.
    pub fn with_level(compression: Compression, level: i32) -> Result<Self, InvalidLevel> {
        let is_level = match compression {
            Compression::Gzip => gzip::LEVELS.contains(&level),
            Compression::Zstd => zstd::LEVELS.contains(&level),
            Compression::None | Compression::Snappy | Compression::Lz4 => false,
        };
        if is_level {
            Ok(Self { compression, level: Some(level) })
        } else {
            Err(InvalidLevel { compression, level })
        }
    }

    /// Which compression it is.
    #[must_use]
    pub const fn compression(self) -> Compression {
        self.compression
    }

    /// Appends `plain`, compressed, to `out`.
    pub(super) fn compress(self, plain: &[u8], out: Vec<u8>) -> Result<Vec<u8>, CompressionError> {
        match self.compression {
            Compression::Gzip => gzip::compress(plain, out, self.level),
            Compression::Snappy => snappy::compress(plain, out),
            Compression::Lz4 => lz4::compress(plain, out),
            Compression::Zstd => zstd::compress(plain, out, self.level),
            Compression::None => Ok(appended(plain, out)),
        }
    }
}

impl From<Compression> for Codec {
    /// At the default level.
    fn from(compression: Compression) -> Self {
        Self { compression, level: None }
    }
}

fn appended(plain: &[u8], mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(plain);
    out
}

/// The bytes that `compressed` stands for, if they are at most `limit`. The limit is held against what has come out
/// so far, while it comes out. `lz4_checksum` is about LZ4 only.
pub(super) fn decompress(
    compression: Compression,
    compressed: &[u8],
    limit: usize,
    lz4_checksum: HeaderChecksum,
) -> Result<Vec<u8>, CompressionError> {
    match compression {
        Compression::Gzip => gzip::decompress(compressed, limit),
        Compression::Snappy => snappy::decompress(compressed, limit),
        Compression::Lz4 => lz4::decompress(compressed, limit, lz4_checksum),
        Compression::Zstd => zstd::decompress(compressed, limit),
        Compression::None if compressed.len() > limit => {
            Err(CompressionError::OverLimit { compression, limit })
        }
        Compression::None => Ok(compressed.to_vec()),
    }
}

/// Records that can't be compressed, or decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// No compression has this id.
    #[error("the compression {0} is not known")]
    Unknown(u8),
    /// The bytes are not what the compression makes.
    #[error("the {0} data is corrupt")]
    Corrupt(Compression),
    /// The records are larger than the caller allows.
    #[error("the {compression} data is of more than {limit} bytes")]
    OverLimit {
        /// What it is compressed with.
        compression: Compression,
        /// Bytes the caller allows.
        limit: usize,
    },
    /// The compressed batch is longer than its length field can say.
    #[error("a batch of {0} bytes is too long")]
    TooLong(usize),
}

/// A level the compression does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{compression} has no level {level}")]
pub struct InvalidLevel {
    /// The compression.
    pub compression: Compression,
    /// The level asked for.
    pub level: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_back() {
        for id in 0..=u8::MAX {
            assert_eq!(Compression::from_id(id).map(Compression::id), (id < 5).then_some(id));
        }
    }

    #[test]
    fn levels() {
        for (compression, level) in
            [(Compression::Gzip, 1), (Compression::Gzip, 9), (Compression::Zstd, -7), (Compression::Zstd, 4)]
        {
            assert!(Codec::with_level(compression, level).is_ok());
        }
        for (compression, level) in [
            (Compression::None, 1),
            (Compression::Gzip, 0),
            (Compression::Gzip, 10),
            (Compression::Snappy, 1),
            (Compression::Lz4, 9),
            (Compression::Zstd, -8),
            (Compression::Zstd, 5),
        ] {
            assert_eq!(Codec::with_level(compression, level), Err(InvalidLevel { compression, level }));
        }
    }
}
