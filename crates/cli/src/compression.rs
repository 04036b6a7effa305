//! A compression as it is written on the command line.

use milena::{Codec, Compression};

/// `gzip`, or `zstd:3` with a level.
pub(crate) fn codec(text: &str) -> Result<Codec, String> {
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    let known = (0..=u8::MAX).map_while(Compression::from_id);
    let found = known.into_iter().find(|known| known.to_string() == name);
    let compression = found.ok_or("expected none, gzip, snappy, lz4 or zstd")?;
    let Some(level) = level else { return Ok(compression.into()) };
    let level = level.parse().map_err(|_| format!("`{level}` is no level"))?;
    Codec::with_level(compression, level)
        .map_err(|error| format!("{error}; gzip has 1 to 9, zstd has -7 to 4, the others none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_have_names_and_some_have_levels() {
        assert_eq!(codec("lz4"), Ok(Compression::Lz4.into()));
        assert_eq!(codec("zstd:-7"), Ok(Codec::with_level(Compression::Zstd, -7).unwrap()));
        assert_ne!(codec("gzip:9"), codec("gzip"));
        for (text, complaint) in [
            ("rar", "expected none, gzip, snappy, lz4 or zstd"),
            ("gzip:x", "`x` is no level"),
            ("gzip:10", "gzip has no level 10; gzip has 1 to 9, zstd has -7 to 4, the others none"),
            ("lz4:1", "lz4 has no level 1; gzip has 1 to 9, zstd has -7 to 4, the others none"),
        ] {
            assert_eq!(codec(text), Err(complaint.into()));
        }
    }
}
