//! Names and values as HTML forms write them (`application/x-www-form-urlencoded`).

use std::fmt::Write;

/// Writes the pairs one behind the other.
pub(super) fn form<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        encode_into(name, &mut form);
        form.push('=');
        encode_into(value, &mut form);
    }
    form
}

pub(super) fn encode_into(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => into.push(byte.into()),
            b' ' => into.push('+'),
            // Writing to a string does not fail.
            _ => _ = write!(into, "%{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6749, appendix B, among others.
    #[test]
    fn what_is_no_letter_or_digit_is_encoded() {
        let pairs = [("scope", "a b"), ("client_secret", "s=&:%+~\u{20ac}"), ("x", " %&+\u{a3}\u{20ac}")];
        assert_eq!(
            form(pairs),
            "scope=a+b&client_secret=s%3D%26%3A%25%2B%7E%E2%82%AC&x=+%25%26%2B%C2%A3%E2%82%AC"
        );
        assert_eq!(form([]), "");
    }
}
