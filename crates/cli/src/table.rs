//! Tables for people.

/// Rows under a heading, in columns that are as wide as they have to be.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// What stands for nothing.
pub(crate) const NONE: &str = "-";

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().copied().map(str::to_owned).collect()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The text, a line for each row. Columns of numbers are set to the right.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<_> = (0..columns)
            .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let is_number =
            |cell: &String| cell == NONE || cell.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
        let numbers: Vec<_> = (0..columns).map(|column| cells(column).skip(1).all(is_number)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let padded = row.iter().zip(&widths).zip(&numbers).map(|((cell, width), is_number)| {
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                if *is_number { gap + cell } else { cell.clone() + &gap }
            });
            text += padded.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

/// What there is, or a sign that there is nothing.
pub(crate) fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut table = Table::new(&["TOPIC", "LAG", "MEMBER"]);
        table.row(["orders".into(), "7".into(), "ü-1".into()]);
        table.row(["a".into(), "12,345".into(), or_none(None::<i32>)]);
        assert_eq!(table.text(), "TOPIC      LAG  MEMBER\norders       7  ü-1\na       12,345  -\n");
    }
}
