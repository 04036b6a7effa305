//! Durations as `java.time.Duration` reads them (ISO 8601), as far as they are not negative: days, hours, minutes, seconds.

use std::time::Duration;

/// A duration such as `PT1H30M`, in any case, or nothing.
pub(super) fn read(text: &str) -> Option<Duration> {
    let text = text.to_ascii_uppercase();
    let text = text.strip_prefix('P')?;
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let days = sum(date, &[('D', 86_400)])?;
    days.checked_add(sum(time, &[('H', 3_600), ('M', 60), ('S', 1)])?)
}

/// Numbers and their units, each at most once, the longest first.
fn sum(mut text: &str, units: &[(char, u64)]) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for (unit, seconds) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        let part = match number.split_once('.') {
            Some((whole, fraction)) if *unit == 'S' => {
                Duration::from_secs(digits(whole)?).checked_add(nanos(fraction)?)?
            }
            _ => Duration::from_secs(digits(number)?.checked_mul(*seconds)?),
        };
        sum = sum.checked_add(part)?;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

fn digits(text: &str) -> Option<u64> {
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if are_digits { text.parse().ok() } else { None }
}

fn nanos(fraction: &str) -> Option<Duration> {
    if fraction.len() > 9 {
        return None;
    }
    Some(Duration::from_nanos(digits(&format!("{fraction:0<9}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_refused() {
        for (text, seconds) in [
            ("PT1H30M", 5_400.0),
            ("P7D", 604_800.0),
            ("p1dt2h3m4.5s", 93_784.5),
            ("PT0.001S", 0.001),
            ("PT0S", 0.0),
        ] {
            assert_eq!(read(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        let huge = format!("PT{}H", u64::MAX);
        for text in
            ["", "P", "PT", "P1DT", "1H", "PT-1H", "PT1", "PT1M1H", "P1H", "PT1.5H", "PTS", "PT+1S", &huge]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
