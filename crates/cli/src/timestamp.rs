//! A time as it is written on the command line: milliseconds since 1970, RFC 3339, or how long ago.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let complaint =
        || format!("`{text}` is neither milliseconds since 1970 nor a time like 2026-11-27T09:30:00Z");
    let ms = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { rfc3339(text) };
    ms.filter(|ms| *ms >= 0).ok_or_else(complaint)
}

/// As [`parse`], or how long ago: `90s`, `15m`, `2h`, `7d`.
pub(crate) fn parse_or_ago(text: &str) -> Result<i64, String> {
    match ago(text) {
        Some(ms) => Ok(now_ms().saturating_sub(ms).max(0)),
        None => parse(text),
    }
}

/// Milliseconds since 1970, at this moment.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds.
fn ago(text: &str) -> Option<i64> {
    let end = text.find(|char: char| !char.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(end)?;
    let ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(ms)
}

/// RFC 3339, section 5.6. Fractions of a millisecond are cut off; a leap second is the first of the next minute.
fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = fields(date, '-')?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = fields(time, ':')?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let (ms, zone) = fraction(rest)?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    in_range.then_some((seconds - offset(zone)?) * 1_000 + ms)
}

/// Three numbers in their usual width: the first of what is left over, the others of two digits.
fn fields(text: &str, between: char) -> Option<(i64, i64, i64)> {
    let mut fields = text.split(between);
    let (first, second, third) = (fields.next()?, fields.next()?, fields.next()?);
    let is_whole = fields.next().is_none() && second.len() == 2 && third.len() == 2;
    is_whole.then_some((number(first)?, number(second)?, number(third)?))
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Milliseconds, and what follows the fraction.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|char: char| !char.is_ascii_digit())?;
    let (digits, zone) = rest.split_at_checked(end)?;
    let ms = digits.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    (!digits.is_empty()).then_some((ms, zone))
}

/// Seconds that the zone's clock is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('+') { 1 } else { -1 };
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let is_whole = hours.len() == 2 && minutes.len() == 2;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (is_whole && hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Of the Gregorian calendar. Years count from March here, so that a leap day is the last day of one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on, five months have 153 days.
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    // 1970-01-01 is this many days after 0000-03-01.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_date_says_they_are() {
        for (text, ms) in [
            ("0", 0),
            ("1700000000123", 1_700_000_000_123),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1972-02-29T00:00:00Z", 68_169_600_000),
            ("2000-02-29T12:34:56.789z", 951_827_696_789),
            ("2026-11-27T09:30:00Z", 1_795_771_800_000),
            ("2026-11-27 09:30:00.5-05:30", 1_795_791_600_500),
            ("1985-04-12t23:20:50.52999Z", 482_196_050_529),
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn how_long_ago_has_a_unit() {
        let cases = [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000), ("0s", 0)];
        for (text, ms) in cases {
            assert_eq!(ago(text), Some(ms), "{text}");
        }
        for text in ["", "5", "s", "-5m", "5 m", "5M", "5ms", "1h30m", "99999999999999999999s"] {
            assert_eq!(ago(text), None, "{text}");
        }
        assert_eq!(parse_or_ago("1970-01-01T00:00:01Z"), Ok(1000));
        let hour_ago = parse_or_ago("1h").unwrap();
        assert!((now_ms() - 3_600_000 - hour_ago).abs() < 60_000, "{hour_ago}");
        assert_eq!(parse_or_ago("9999999999s"), Ok(0));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "-1",
            "99999999999999999999",
            "2026-11-27",
            "2026-11-27T09:30:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-11-27T24:00:00Z",
            "2026-11-27T09:30:00.Z",
            "2026-11-27T09:30:00+1:00",
            "2026-11-27T09:30:00+01:60",
            "2026-1-27T09:30:000Z",
            "1969-12-31T23:59:59Z",
            "2026-11-27T09:30:0\u{e9}Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
