//! PEM texts in the values of properties, where the ends of their lines have become something else, or nothing.

use milena_connection::Secret;

/// A text with its lines as they should be, and what its parts are.
#[derive(Debug)]
pub(super) struct Tidy<'t> {
    pub(super) labels: Vec<&'t str>,
    pub(super) text: Secret,
}

const NOT_PEM: &str = "it is not a text in PEM, from BEGIN to END";
const ENCRYPTED: &str =
    "Milena takes a key without a password: openssl pkey -in KEY -out PLAIN-KEY takes it off";

/// One certificate or more.
pub(super) fn certificates(text: &str) -> Result<Secret, &'static str> {
    let tidy = tidy(text)?;
    match tidy.labels.as_slice() {
        [] => Err("it has no certificate in PEM"),
        labels if labels.iter().all(|label| *label == "CERTIFICATE") => Ok(tidy.text),
        _ => Err("it has something else than certificates"),
    }
}

/// A private key without a password.
pub(super) fn key(text: &str) -> Result<Secret, &'static str> {
    let tidy = tidy(text)?;
    match tidy.labels.as_slice() {
        ["ENCRYPTED PRIVATE KEY"] => Err(ENCRYPTED),
        ["PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY"] => Ok(tidy.text),
        _ => Err("it is not one private key in PEM"),
    }
}

fn tidy(text: &str) -> Result<Tidy<'_>, &'static str> {
    // Room for all of it, so that no part of a key stays behind where it did not fit.
    let mut tidy = String::with_capacity(text.len().saturating_mul(2));
    let (mut labels, mut rest) = (Vec::new(), text);
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, begun) = begun.split_once("-----").ok_or(NOT_PEM)?;
        let (body, ended) = begun.split_once("-----END ").ok_or(NOT_PEM)?;
        let ended = ended.strip_prefix(label).and_then(|ended| ended.strip_prefix("-----")).ok_or(NOT_PEM)?;
        if body.contains("ENCRYPTED") {
            return Err(ENCRYPTED);
        }
        append(&mut tidy, label, body)?;
        labels.push(label);
        rest = ended;
    }
    Ok(Tidy { labels, text: tidy.into() })
}

fn append(tidy: &mut String, label: &str, body: &str) -> Result<(), &'static str> {
    const WIDTH: usize = 64;
    let is_name = label.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
    if !is_name {
        return Err(NOT_PEM);
    }
    tidy.extend(["-----BEGIN ", label, "-----"]);
    let mut characters = body.chars();
    let mut column = 0;
    while let Some(character) = characters.next() {
        match character {
            // The end of a line, written out: base64 has no backslash.
            '\\' => {
                characters.next();
            }
            character if character.is_whitespace() => {}
            character if character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=') => {
                if column % WIDTH == 0 {
                    tidy.push('\n');
                }
                tidy.push(character);
                column += 1;
            }
            _ => return Err(NOT_PEM),
        }
    }
    tidy.extend(["\n-----END ", label, "-----\n"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_text_may_have_lost_its_lines() {
        for text in [
            PLAIN,
            "-----BEGIN PRIVATE KEY-----AAAA-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY----- AA AA -----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n",
        ] {
            assert_eq!(key(text).unwrap().expose(), PLAIN);
        }
        let long = format!("-----BEGIN CERTIFICATE-----{}-----END CERTIFICATE-----", "A".repeat(100));
        let text = certificates(&format!("{long}\n{long}")).unwrap();
        let lines: Vec<usize> = text.expose().lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 36, 25, 27, 64, 36, 25]);
    }

    #[test]
    fn what_is_not_a_key_or_certificate_is_refused() {
        let encrypted = PLAIN.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let legacy =
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        for text in [&encrypted, legacy] {
            assert_eq!(key(text).unwrap_err(), ENCRYPTED);
        }
        for text in
            ["-----BEGIN X-----", "-----BEGIN X-----A-----END Y-----", "-----BEGIN X-----!-----END X-----"]
        {
            assert_eq!(key(text).unwrap_err(), NOT_PEM);
        }
        assert_eq!(key("secret").unwrap_err(), "it is not one private key in PEM");
        assert_eq!(certificates("secret").unwrap_err(), "it has no certificate in PEM");
        assert_eq!(certificates(PLAIN).unwrap_err(), "it has something else than certificates");
    }
}
