//! Version ranges of the schemas: `3+`, `0-12`, `7`, `none`.

use anyhow::Context;

/// The last version a schema can name.
const OPEN_END: i16 = i16::MAX;

/// Versions in a row; empty when `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) first: i16,
    pub(crate) last: i16,
}

impl Versions {
    pub(crate) const NONE: Self = Self { first: 0, last: -1 };

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let number = |digits: &str| -> anyhow::Result<i16> {
            digits.parse().with_context(|| format!("`{text}` is not a range of versions"))
        };
        if text == "none" {
            return Ok(Self::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Self { first: number(first)?, last: OPEN_END });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Self { first: number(first)?, last: number(last)? })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub(crate) fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// What is left without `other`: nothing, one range or two.
    pub(crate) fn without(self, other: Self) -> Vec<Self> {
        if self.and(other).is_empty() {
            return if self.is_empty() { Vec::new() } else { vec![self] };
        }
        let before = Self { first: self.first, last: self.last.min(other.first.saturating_sub(1)) };
        let after = Self { first: self.first.max(other.last.saturating_add(1)), last: self.last };
        // Past the open end there is nothing.
        let after = if other.last == OPEN_END { Self::NONE } else { after };
        [before, after].into_iter().filter(|range| !range.is_empty()).collect()
    }

    /// How to ask, knowing that the version is in `valid`, whether it is in this range.
    pub(crate) fn test(self, valid: Self) -> Test {
        let both = self.and(valid);
        if both.is_empty() {
            return Test::Never;
        }
        match (both.first > valid.first, both.last < valid.last) {
            (false, false) => Test::Always,
            (true, false) => Test::When(format!("version >= {}", both.first)),
            (false, true) => Test::When(format!("version <= {}", both.last)),
            (true, true) => Test::When(format!("({}..={}).contains(&version)", both.first, both.last)),
        }
    }

    /// The condition of *not* being in this range, as [`test`](Self::test) asks for being in it.
    pub(crate) fn test_outside(self, valid: Self) -> Test {
        let both = self.and(valid);
        match self.test(valid) {
            Test::Always => Test::Never,
            Test::Never => Test::Always,
            Test::When(_) => match (both.first > valid.first, both.last < valid.last) {
                (true, false) => Test::When(format!("version < {}", both.first)),
                (false, true) => Test::When(format!("version > {}", both.last)),
                _ => Test::When(format!("!({}..={}).contains(&version)", both.first, both.last)),
            },
        }
    }

    /// The range as a person writes it, within the `valid` one.
    pub(crate) fn describe(self, valid: Self) -> String {
        let both = self.and(valid);
        if both.is_empty() {
            "none".to_owned()
        } else if both.first == both.last {
            both.first.to_string()
        } else if both.last == valid.last {
            format!("{}+", both.first)
        } else {
            format!("{}–{}", both.first, both.last)
        }
    }
}

/// A condition on `version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Always,
    Never,
    When(String),
}

impl Test {
    /// The condition as an expression.
    pub(crate) fn expression(&self) -> &str {
        match self {
            Self::Always => "true",
            Self::Never => "false",
            Self::When(condition) => condition,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_schemas_write_them() {
        assert_eq!(Versions::parse("3+").unwrap(), Versions { first: 3, last: OPEN_END });
        assert_eq!(Versions::parse("0-12").unwrap(), Versions { first: 0, last: 12 });
        assert_eq!(Versions::parse("7").unwrap(), Versions { first: 7, last: 7 });
        assert!(Versions::parse("none").unwrap().is_empty());
        assert!(Versions::parse("x").is_err());
    }

    #[test]
    fn what_is_left_of_a_range() {
        let without =
            |text: &str, other: &str| Versions::parse(text).unwrap().without(Versions::parse(other).unwrap());
        assert_eq!(without("3+", "none"), [Versions::parse("3+").unwrap()]);
        assert_eq!(without("3+", "5+"), [Versions { first: 3, last: 4 }]);
        assert_eq!(without("3-9", "5-6"), [Versions { first: 3, last: 4 }, Versions { first: 7, last: 9 }]);
        assert_eq!(without("3-9", "0+"), []);
    }

    #[test]
    fn a_test_says_no_more_than_it_must() {
        let valid = Versions { first: 4, last: 18 };
        let test = |text| Versions::parse(text).unwrap().test(valid);
        assert_eq!(test("0+"), Test::Always);
        assert_eq!(test("12+"), Test::When("version >= 12".to_owned()));
        assert_eq!(test("0-12"), Test::When("version <= 12".to_owned()));
        assert_eq!(test("7-12"), Test::When("(7..=12).contains(&version)".to_owned()));
        assert_eq!(test("0-3"), Test::Never);
        let outside = |text| Versions::parse(text).unwrap().test_outside(valid);
        assert_eq!(outside("12+"), Test::When("version < 12".to_owned()));
        assert_eq!(outside("0-12"), Test::When("version > 12".to_owned()));
        assert_eq!(outside("7-12"), Test::When("!(7..=12).contains(&version)".to_owned()));
    }
}
