//! Names and values from a process's variables.

use std::ffi::OsString;

use super::{PropertiesError, PropertiesOf, PropertyProblem};

/// The variables of this process that begin with `prefix` and a low line, as properties.
pub(super) fn own(of: PropertiesOf, prefix: &str) -> Result<Vec<(String, String)>, PropertiesError> {
    let (pairs, problems) = read(prefix, std::env::vars_os());
    PropertiesError::unless_empty(of, problems)?;
    Ok(pairs)
}

/// The same of these variables.
pub(super) fn read(
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Vec<(String, String)>, Vec<PropertyProblem>) {
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    for (variable, value) in variables {
        let variable = variable.to_string_lossy();
        let Some(rest) = variable.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
            continue;
        };
        let name = name(rest);
        match value.into_string() {
            Ok(value) => pairs.push((name, value)),
            Err(_) => problems.push(PropertyProblem::Refused { name, reason: "it is not UTF-8".to_owned() }),
        }
    }
    // A process has its variables in no order; problems are to be told in one.
    pairs.sort();
    (pairs, problems)
}

/// As the images `apache/kafka` have it: a low line is a full stop, two are one, and three are a hyphen.
fn name(variable: &str) -> String {
    let lower = variable.to_ascii_lowercase();
    lower.replace("___", "-").replace("__", "\0").replace('_', ".").replace('\0', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_with_the_prefix_are_properties() {
        let variables = [
            ("ORDERS_BOOTSTRAP_SERVERS", "a:1"),
            ("ORDERS_LOG__LEVEL", "6"),
            ("ORDERS_TOPIC___NAME", "$HOME"),
            ("ORDERSX_ACKS", "1"),
            ("HOME", "/root"),
            ("orders_ACKS", "1"),
        ];
        let (pairs, problems) = read("ORDERS", variables.map(|(name, value)| (name.into(), value.into())));
        let expected = [("bootstrap.servers", "a:1"), ("log_level", "6"), ("topic-name", "$HOME")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(problems.is_empty());
        assert_eq!(name("A____B_____C"), "a-.b-_c");
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_refused_by_name() {
        use std::os::unix::ffi::OsStringExt;
        let variables = [("K_SASL_PASSWORD".into(), OsString::from_vec(b"hunter\xff".to_vec()))];
        let (_, problems) = read("K", variables);
        assert_eq!(problems[0].to_string(), "sasl.password is refused: it is not UTF-8");
    }
}
