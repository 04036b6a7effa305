//! Where reading starts, and where it ends, as it is written on the command line.

use std::str::FromStr;

use crate::timestamp;

/// Where reading starts, in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Beginning,
    End,
    /// Where the group has committed that it goes on.
    Stored,
    Offset(i64),
    /// So many offsets before the end.
    Last(i64),
    /// At the first record that is not older, in milliseconds since 1970.
    Time(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" | "earliest" => return Ok(Self::Beginning),
            "end" | "latest" => return Ok(Self::End),
            "stored" => return Ok(Self::Stored),
            _ => {}
        }
        if let Some(number) = text.strip_prefix('-').and_then(number) {
            return Ok(Self::Last(number));
        }
        place(text, "s@", Self::Offset, Self::Time).ok_or_else(|| {
            format!("`{text}` is none of beginning, end, stored, an offset, -N, @MS, 15m (ago) and a time like 2026-11-27T09:30:00Z")
        })
    }
}

/// Where reading ends, in every partition; what is there is not read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Offset(i64),
    Time(i64),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let until = place(text, "e@", Self::Offset, Self::Time).ok_or_else(|| {
            format!("`{text}` is none of an offset, @MS, 15m (ago) and a time like 2026-11-27T09:30:00Z")
        })?;
        match until {
            Self::Time(ms) if ms > timestamp::now_ms() => {
                Err("a time to come can't be waited for: records may be written late".into())
            }
            until => Ok(until),
        }
    }
}

/// An offset, or a time. Before milliseconds stands `@`, or kcat's mark.
fn place<T>(text: &str, kcat: &str, offset: fn(i64) -> T, time: fn(i64) -> T) -> Option<T> {
    if let Some(number) = number(text) {
        return Some(offset(number));
    }
    match text.strip_prefix('@').or_else(|| text.strip_prefix(kcat)) {
        Some(ms) => number(ms).map(time),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => None,
        None => timestamp::parse_or_ago(text).ok().map(time),
    }
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_place_an_offset_a_distance_or_a_time() {
        for (text, start) in [
            ("beginning", Start::Beginning),
            ("earliest", Start::Beginning),
            ("end", Start::End),
            ("latest", Start::End),
            ("stored", Start::Stored),
            ("0", Start::Offset(0)),
            ("42", Start::Offset(42)),
            ("-10", Start::Last(10)),
            ("@1700000000000", Start::Time(1_700_000_000_000)),
            ("s@5", Start::Time(5)),
            ("1970-01-01T00:00:01Z", Start::Time(1000)),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
        assert!(matches!("15m".parse(), Ok(Start::Time(ms)) if ms > 1_700_000_000_000));
        for text in
            ["", "soon", "-", "@", "--1", "+5", "-1h", "@-1", "e@5", "99999999999999999999", "Beginning"]
        {
            let error = text.parse::<Start>().unwrap_err();
            assert!(error.contains("none of beginning, end, stored, an offset"), "{text}: {error}");
        }
    }

    #[test]
    fn an_end_is_an_offset_or_a_time_that_has_passed() {
        for (text, until) in [
            ("7", Until::Offset(7)),
            ("@5", Until::Time(5)),
            ("e@5", Until::Time(5)),
            ("1970-01-01T00:00:01Z", Until::Time(1000)),
        ] {
            assert_eq!(text.parse(), Ok(until), "{text}");
        }
        for text in ["", "end", "-5", "s@5", "99999999999999999999"] {
            assert!(text.parse::<Until>().unwrap_err().contains("is none of an offset"), "{text}");
        }
        assert!("9999-12-31T00:00:00Z".parse::<Until>().unwrap_err().contains("a time to come"));
    }
}
