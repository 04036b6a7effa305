//! What a failed TLS handshake comes down to, for a person.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};

/// Why the handshake failed. `is_identified`: the client has a certificate of its own to show.
pub(crate) fn describe(error: &io::Error, is_identified: bool) -> String {
    match inner(error) {
        Some(Error::InvalidMessage(_)) => "the peer does not speak TLS; is this a plaintext port?".to_owned(),
        Some(Error::InvalidCertificate(error)) => of_certificate(error),
        Some(Error::AlertReceived(alert)) => of_alert(*alert, is_identified),
        Some(error) => error.to_string(),
        None if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ) =>
        {
            "the peer hung up in the middle of it; is this a plaintext port?".to_owned()
        }
        None => error.to_string(),
    }
}

/// Whether a peer refuses the connection by this. In TLS 1.3 the client is done before the peer has seen its certificate,
/// and hears of that when it reads for the first time.
#[must_use]
pub fn is_alert(error: &io::Error) -> bool {
    matches!(inner(error), Some(Error::AlertReceived(_)))
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What the client has against the peer's certificate. The name that rustls has for it comes last, to be searched for.
fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the peer's certificate is of no authority that this client trusts (UnknownIssuer)".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the peer's certificate expired on {}, and by the clock of this machine it is {} (Expired)",
            date(*not_after),
            date(*time)
        ),
        CertificateError::Expired => "the peer's certificate is out of date (Expired)".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the peer's certificate is valid from {} on, and by the clock of this machine it is {}; is the clock right? \
             (NotValidYet)",
            date(*not_before),
            date(*time)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let named: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
            format!(
                "the peer's certificate is not valid for name {}; the names in it: {named}",
                expected.to_str()
            )
        }
        CertificateError::Revoked => "the peer's certificate was revoked (Revoked)".to_owned(),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "the peer's certificate is not one of a server (InvalidPurpose)".to_owned()
        }
        other => format!("the peer's certificate can't be believed: {other}"),
    }
}

/// A name as rustls shows it, `DnsName("host")`, without what is around it.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

/// What the peer has against the client.
fn of_alert(alert: AlertDescription, is_identified: bool) -> String {
    use AlertDescription as Alert;
    const DEMANDED: &str = "the peer demands a certificate of the client's own, and none is set";
    let words = match alert {
        Alert::CertificateRequired | Alert::BadCertificate | Alert::CertificateUnknown if !is_identified => {
            DEMANDED
        }
        Alert::HandshakeFailure if !is_identified => {
            "the peer has no TLS version and cipher in common with this client, or demands a certificate of the client's own"
        }
        Alert::UnknownCA => "the peer does not know the authority that the client's certificate is of",
        Alert::CertificateExpired => "the peer finds that the client's certificate has expired",
        Alert::CertificateRevoked => "the peer finds that the client's certificate was revoked",
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied
        | Alert::DecryptError => {
            "the peer does not believe the client's certificate; is it of an authority that the peer trusts, and in date?"
        }
        Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
            "the peer has no TLS version and cipher in common with this client"
        }
        Alert::UnrecognisedName => "the peer has no certificate for this name",
        _ => "the peer refused it",
    };
    format!("{words} (alert {alert:?})")
}

/// A point in time, to the second.
fn date(time: UnixTime) -> String {
    let seconds = time.as_secs();
    let (year, month, day) = day(seconds / 86_400);
    let [hour, minute, second] = [seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The day that is so many after 1 January 1970. Years begin in March, so that a leap day is the last of its year.
const fn day(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_what_date_says_they_are() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_827_696, "2000-02-29 12:34:56 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), expected);
        }
    }

    #[test]
    fn an_alert_is_about_the_certificate_that_is_there_or_is_not() {
        let alert =
            |alert, is_identified| describe(&io::Error::other(Error::AlertReceived(alert)), is_identified);
        assert_eq!(
            alert(AlertDescription::BadCertificate, false),
            "the peer demands a certificate of the client's own, and none is set (alert BadCertificate)"
        );
        assert!(
            alert(AlertDescription::BadCertificate, true)
                .starts_with("the peer does not believe the client's certificate")
        );
        assert_eq!(alert(AlertDescription::InternalError, true), "the peer refused it (alert InternalError)");
    }
}
