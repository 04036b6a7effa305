//! Kafka's names as Rust writes them, and texts as rustdoc reads them.

/// `ThrottleTimeMs` → `throttle_time_ms`, `ISRNodes` → `isr_nodes`.
pub(crate) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && !letters[at - 1].is_uppercase();
        let before_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && at > 0 && (after_small || before_small) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// A field's name: [`snake_case`], kept clear of Rust's keywords.
pub(crate) fn field_name(name: &str) -> String {
    match snake_case(name).as_str() {
        "type" => "type_".to_owned(),
        "match" => "match_".to_owned(),
        // The version of the message is an argument of that name.
        "version" => "version_".to_owned(),
        other => other.to_owned(),
    }
}

/// A field's name as Java's JSON has it.
pub(crate) fn camel_case(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

/// `transactionalId` → `transactional id`.
pub(crate) fn spaced(name: &str) -> String {
    snake_case(name).replace('_', " ")
}

/// The columns of a line of documentation, `///` not counted.
const DOC_WIDTH: usize = 100;

/// A text of the schema as lines of rustdoc.
pub(crate) fn doc_lines(text: &str) -> String {
    let mut lines = String::new();
    let mut column = DOC_WIDTH;
    for word in text.split_whitespace().map(doc_word) {
        let len = word.chars().count();
        // A dash that starts a line would start a list.
        let dash = matches!(word.as_str(), "-" | "+");
        if lines.is_empty() || column + 1 + len > DOC_WIDTH && !dash {
            let end = if lines.is_empty() { "" } else { "\n" };
            let item = if text.starts_with("- ") && !lines.is_empty() { "  " } else { "" };
            lines = format!("{lines}{end}/// {item}{word}");
            column = len;
        } else {
            lines = format!("{lines} {word}");
            column += 1 + len;
        }
    }
    lines
}

/// A word that rustdoc takes as plain text.
fn doc_word(word: &str) -> String {
    if word.starts_with("http") {
        return format!("<{word}>");
    }
    let word = word.replace('<', "\\<").replace('[', "\\[").replace(']', "\\]");
    word.replace('_', "\\_").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (kafka, rust) in [
            ("ThrottleTimeMs", "throttle_time_ms"),
            ("ISRNodes", "isr_nodes"),
            ("Type", "type_"),
            ("TopicId", "topic_id"),
            ("v3AndBelowTransactionalId", "v3_and_below_transactional_id"),
        ] {
            assert_eq!(field_name(kafka), rust);
        }
        assert_eq!(camel_case("ErrorCode"), "errorCode");
        assert_eq!(spaced("transactionalId"), "transactional id");
    }

    #[test]
    fn documentation_is_plain_text() {
        assert_eq!(doc_lines("see https://a.b/c for <x> [y]"), "/// see <https://a.b/c> for \\<x> \\[y\\]");
        let lines = doc_lines(&"word ".repeat(50));
        assert_eq!(lines.lines().map(|line| line.len() - 4).collect::<Vec<_>>(), [99, 99, 49]);
        assert_eq!(doc_lines(""), "");
        let item = doc_lines(&format!("- {}", "word ".repeat(25)));
        assert!(item.starts_with("/// - word") && item.contains("\n///   word"), "{item}");
    }
}
