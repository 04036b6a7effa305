//! Lines of a script, and which of them belong together.

use std::sync::Arc;

use super::{Place, ScriptError};

/// A line without its comment.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    /// Spaces before it.
    pub(super) indent: usize,
    /// The line with the spaces before it.
    pub(super) text: String,
}

/// What lines make up.
#[derive(Debug)]
pub(super) enum Chunk {
    /// A statement: a line and those below it that are indented deeper.
    Statement(Vec<Line>),
    /// A line that begins with `def` or `for`, and the lines up to its `end`.
    Block { head: Line, body: Vec<Line> },
}

/// The lines that say something.
pub(super) fn split(file: &Arc<str>, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, full) in text.lines().enumerate() {
        let text = without_comment(full).trim_end();
        let indent = text.len() - text.trim_start().len();
        if !text.trim().is_empty() {
            let place = Place {
                file: Arc::clone(file),
                line: at + 1,
                column: indent + 1,
                called_at: None,
                in_loop: false,
            };
            lines.push(Line { place, indent, text: text.to_owned() });
        }
    }
    lines
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match letter {
            '"' if before != '\\' => quoted = !quoted,
            '#' if !quoted => return line.get(..at).unwrap_or_default(),
            _ => {}
        }
        before = letter;
    }
    line
}

/// Puts together what belongs together.
pub(super) fn chunks(lines: Vec<Line>) -> Result<Vec<Chunk>, ScriptError> {
    let mut chunks = Vec::new();
    let mut lines = lines.into_iter().peekable();
    while let Some(head) = lines.next() {
        let word = first_word(&head.text);
        if word == "end" {
            return Err(ScriptError::new(head.place, "`end` ends nothing"));
        }
        let is_block = word == "def" || word == "for";
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|line| line.indent > head.indent) {
            body.push(line);
        }
        if !is_block {
            body.insert(0, head);
            chunks.push(Chunk::Statement(body));
            continue;
        }
        if lines.next_if(|line| first_word(&line.text) == "end" && line.indent == head.indent).is_none() {
            let error = ScriptError::new(head.place, format!("`{word}` without `end`"));
            return Err(
                error.advise("indent what belongs to it, and write `end` in the column where it begins")
            );
        }
        chunks.push(Chunk::Block { head, body });
    }
    Ok(chunks)
}

pub(super) fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    text.split(|letter: char| letter.is_whitespace() || letter == '(').next().unwrap_or_default()
}
