//! The two formats of property files, as names and values with the line each begins in.
//!
//! Java's is that of `java.util.Properties`: comments by `#` and `!`, a name ends at the first `=`, `:` or white space, a
//! backslash escapes or carries a line on. librdkafka has no format of its own; its command-line client reads lines of
//! `name=value` with comments by `#`, in which a backslash is a backslash.

use super::PropertyProblem;

/// What Java takes for white space in such a file.
const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

const NAMELESS: &str = "a value without a name";

const UNENDED: &str = "the PEM text ends before its END; write \\n for the ends of its lines";

/// What a file has, in its order.
type Pairs = Vec<(String, String)>;

/// Reads what `java.util.Properties` would.
pub(super) fn read_java(text: &str) -> Result<Pairs, Vec<PropertyProblem>> {
    let text = without_mark(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = (1..).zip(text.split('\n'));
    let (mut properties, mut problems) = (Vec::new(), Vec::new());
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches(BLANK);
        // A backslash alone carries nothing on: to Java the next line is one of its own.
        if line.is_empty() || line == "\\" || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while is_carried_on(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANK));
        }
        if is_unended(&logical) {
            problems.push(PropertyProblem::Syntax { line: number, reason: UNENDED });
            skip_pem(lines.by_ref().map(|(_, line)| line));
            continue;
        }
        let (name, value) = split(&logical);
        match (unescape(name), unescape(value)) {
            (Ok(name), _) if name.is_empty() => {
                problems.push(PropertyProblem::Syntax { line: number, reason: NAMELESS });
            }
            (Ok(name), Ok(value)) => properties.push((name, value)),
            (Err(reason), _) | (_, Err(reason)) => {
                problems.push(PropertyProblem::Syntax { line: number, reason });
            }
        }
    }
    if problems.is_empty() { Ok(properties) } else { Err(problems) }
}

/// Reads lines of `name=value`.
pub(super) fn read_librdkafka(text: &str) -> Result<Pairs, Vec<PropertyProblem>> {
    let (mut properties, mut problems) = (Vec::new(), Vec::new());
    let mut lines = (1..).zip(without_mark(text).lines());
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if is_unended(line) {
            problems.push(PropertyProblem::Syntax { line: number, reason: UNENDED });
            skip_pem(lines.by_ref().map(|(_, line)| line));
            continue;
        }
        match line.split_once('=') {
            Some(("", _)) => problems.push(PropertyProblem::Syntax { line: number, reason: NAMELESS }),
            Some((name, value)) => {
                properties.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            None => problems.push(PropertyProblem::Syntax {
                line: number,
                reason: "a line is name=value, or begins with #",
            }),
        }
    }
    if problems.is_empty() { Ok(properties) } else { Err(problems) }
}

/// Some editors put a byte order mark first.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// True of a PEM text that goes on behind the line, where each of its lines would be taken for a name, and be shown.
fn is_unended(line: &str) -> bool {
    line.contains("-----BEGIN") && !line.contains("-----END")
}

fn skip_pem<'t>(mut lines: impl Iterator<Item = &'t str>) {
    let _ = lines.find(|line| line.contains("-----END"));
}

/// True when the line ends in a backslash that is not itself escaped.
fn is_carried_on(line: &str) -> bool {
    line.chars().rev().take_while(|character| *character == '\\').count() % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let ends = |character: char| {
        let ends = !is_escaped && (BLANK.contains(&character) || matches!(character, '=' | ':'));
        is_escaped = !is_escaped && character == '\\';
        ends
    };
    let (name, rest) = line.find(ends).map_or((line, ""), |at| line.split_at(at));
    let rest = rest.trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, rest.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    // Of UTF-16, as two escapes may be the halves of one character.
    let mut units = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let character = if character == '\\' {
            match characters.next() {
                Some('u') => {
                    units.push(code_unit(&mut characters)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => continue,
            }
        } else {
            character
        };
        units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| "an escape \\u… is half a character")
}

fn code_unit(characters: &mut std::str::Chars<'_>) -> Result<u16, &'static str> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = characters.next().and_then(|character| character.to_digit(16));
        let digit = digit.ok_or("an escape \\u has four hexadecimal digits")?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn java(text: &str) -> Vec<(String, String)> {
        read_java(text).unwrap()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    #[test]
    fn java_reads_names_values_and_comments() {
        let text =
            "\u{feff}# one\n  ! two = 2\n\na=1\nb:2\nc 3\n d\t=\t4 \ne = = 5\nf\n\\#g=6\r\nh=#7\ri=8\n";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4 "),
            ("e", "= 5"),
            ("f", ""),
            ("#g", "6"),
            ("h", "#7"),
            ("i", "8"),
        ];
        assert_eq!(java(text), pairs(expected));
    }

    #[test]
    fn java_reads_escapes_and_lines_that_go_on() {
        let text = "\\\n# x\na\\ b\\=c=d\\te\\\\\nfruit = apple, \\\n    # pear,\\\r\n  plum\nlast\\\\=\\u00e9\\uD83D\\uDE00\\q\nend=x\\";
        let expected = [
            ("a b=c", "d\te\\"),
            ("fruit", "apple, # pear,plum"),
            ("last\\", "\u{e9}\u{1f600}q"),
            ("end", "x"),
        ];
        assert_eq!(java(text), pairs(expected));
    }

    #[test]
    fn every_line_that_cannot_be_read_is_told() {
        assert_eq!(read_java("a=1\n : 2").unwrap_err()[0].to_string(), "line 2: a value without a name");
        let problems = read_java("a=1\nb=\\u12\nc=\\\n\\uD83D\nd=1").unwrap_err();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "line 2: an escape \\u has four hexadecimal digits",
                "line 3: an escape \\u\u{2026} is half a character"
            ]
        );
        let problems = read_librdkafka("a=1\nb\n\n#c\nd\n=5").unwrap_err();
        assert_eq!((problems.len(), problems[2].to_string().as_str()), (3, "line 6: a value without a name"));
        assert_eq!(problems[1].to_string(), "line 5: a line is name=value, or begins with #");
    }

    #[test]
    fn a_backslash_is_one_in_lines_of_librdkafka() {
        let lines = read_librdkafka(" sasl.password = a\\tb=c \n# x\r\nlinger.ms=5\r\n").unwrap();
        assert_eq!(lines, pairs([("sasl.password", "a\\tb=c"), ("linger.ms", "5")]));
    }

    #[test]
    fn a_key_whose_lines_are_taken_for_names_is_not_shown() {
        let text =
            "a=1\nssl.key.pem=-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\nb=\\u1\n";
        for problems in [read_java(text).unwrap_err(), read_librdkafka(text).err().unwrap_or_default()] {
            assert_eq!(
                problems[0].to_string(),
                "line 2: the PEM text ends before its END; write \\n for the ends of its lines"
            );
            assert!(!format!("{problems:?}").contains("MIGH"));
        }
        assert_eq!(
            read_java(text).unwrap_err()[1].to_string(),
            "line 5: an escape \\u has four hexadecimal digits"
        );
    }
}
