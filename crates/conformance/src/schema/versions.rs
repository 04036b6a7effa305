/// Versions in a row, as the schemas write them: `3+`, `0-12`, `7`, `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The first.
    pub first: i16,
    /// The last; before the first when there are none.
    pub last: i16,
}

impl Versions {
    /// No version.
    pub const NONE: Self = Self { first: 0, last: -1 };

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Some(Self { first: first.parse().ok()?, last: i16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
    }

    /// True when the version is among them.
    #[must_use]
    pub fn contain(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}
