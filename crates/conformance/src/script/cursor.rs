//! Reads the text of a statement, letter by letter.

use std::sync::Arc;

use super::{Place, ScriptError, lines::Line};

pub(super) struct Cursor {
    letters: Vec<char>,
    at: usize,
    /// Where each line begins, and its place.
    lines: Vec<(usize, Place)>,
}

impl Cursor {
    pub(super) fn new(lines: &[Line]) -> Self {
        let mut letters = Vec::new();
        let mut starts = Vec::new();
        for line in lines {
            starts.push((letters.len(), line.place.clone()));
            letters.extend(line.text.chars());
            letters.push('\n');
        }
        Self { letters, at: 0, lines: starts }
    }

    pub(super) fn place(&self) -> Place {
        let line = self.lines.iter().rev().find(|(start, _)| *start <= self.at);
        match line.or(self.lines.first()) {
            Some((start, place)) => Place { column: self.at - start + 1, ..place.clone() },
            None => Place { file: Arc::from(""), line: 0, column: 0, called_at: None, in_loop: false },
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ScriptError {
        ScriptError::new(self.place(), message)
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    pub(super) fn peek_after(&self, count: usize) -> Option<char> {
        self.letters.get(self.at + count).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(letter)
    }

    /// Passes over spaces, ends of lines and commas.
    pub(super) fn skip_blank(&mut self) {
        while self.peek().is_some_and(|letter| letter.is_whitespace() || letter == ',') {
            self.at += 1;
        }
    }

    /// Passes over spaces in the line.
    pub(super) fn skip_spaces(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    pub(super) fn is_done(&mut self) -> bool {
        self.skip_blank();
        self.peek().is_none()
    }

    /// Whether this comes next.
    pub(super) fn is_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(at, letter)| self.peek_after(at) == Some(letter))
    }

    /// Whether this comes next, which is then passed.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.is_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    /// The same for a whole word.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let end = self.peek_after(word.chars().count());
        if end.is_some_and(is_of_word) {
            return false;
        }
        self.take(word)
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), ScriptError> {
        if self.take(text) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{text}` here{}", self.found())))
        }
    }

    /// What stands here, for a message.
    pub(super) fn found(&self) -> String {
        match self.peek() {
            None | Some('\n') => ", not the end of the line".into(),
            Some(letter) => format!(", not `{letter}`"),
        }
    }

    /// A word of letters, digits, `-`, `_` and, between them, dots.
    pub(super) fn word(&mut self) -> Option<String> {
        let mut word = String::new();
        while let Some(letter) = self.peek() {
            let is_dot_inside =
                letter == '.' && self.peek_after(1).is_some_and(is_of_word) && !word.is_empty();
            if !is_of_word(letter) && !is_dot_inside {
                break;
            }
            word.push(letter);
            self.at += 1;
        }
        (!word.is_empty()).then_some(word)
    }

    /// A whole number, if one comes next.
    pub(super) fn integer(&mut self) -> Result<Option<i64>, ScriptError> {
        let place = self.place();
        let sign = usize::from(self.peek() == Some('-'));
        if !self.peek_after(sign).is_some_and(|letter| letter.is_ascii_digit()) {
            return Ok(None);
        }
        let mut digits: String = self.letters.iter().skip(self.at).take(sign).collect();
        self.at += sign;
        while let Some(letter) = self.peek().filter(|letter| letter.is_ascii_digit() || *letter == '_') {
            if letter != '_' {
                digits.push(letter);
            }
            self.at += 1;
        }
        let number = digits.parse();
        number.map(Some).map_err(|_| ScriptError::new(place, format!("{digits} is too large a number")))
    }

    /// A text in quotes, if one comes next.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, ScriptError> {
        let place = self.place();
        if !self.take("\"") {
            return Ok(None);
        }
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => {
                    return Err(ScriptError::new(place, "a text without an end; expected `\"`"));
                }
                Some('"') => return Ok(Some(text)),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some(letter @ ('"' | '\\')) => text.push(letter),
                    _ => return Err(self.error("after `\\` stands `n`, `\"` or `\\`")),
                },
                Some(letter) => text.push(letter),
            }
        }
    }

    /// A value as it is written, up to a space outside quotes and brackets.
    pub(super) fn raw_value(&mut self) -> Result<String, ScriptError> {
        let place = self.place();
        let (mut text, mut depth, mut quoted) = (String::new(), 0usize, false);
        while let Some(letter) = self.peek() {
            if !quoted && depth == 0 && (letter.is_whitespace() || letter == ',' || letter == ')') {
                // What these words are about stands behind them.
                let goes_on = ["any-order", "contains", "count"].iter().any(|word| text.ends_with(word));
                if !goes_on {
                    break;
                }
            }
            match letter {
                '"' if !text.ends_with('\\') => quoted = !quoted,
                '(' | '[' | '{' if !quoted => depth += 1,
                ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            text.push(letter);
            self.at += 1;
        }
        if depth > 0 || quoted {
            return Err(ScriptError::new(place, "a value without an end: a bracket or quote is open"));
        }
        Ok(text.replace('\n', " "))
    }
}

pub(super) fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}
