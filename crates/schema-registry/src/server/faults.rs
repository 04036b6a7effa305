//! What goes wrong because a test asked for it.

use std::time::Duration;

#[derive(Default)]
pub(super) struct Faults {
    pub(super) requests: usize,
    /// How many of the next requests, and with which status.
    pub(super) failing: (usize, u16),
    pub(super) delay: Duration,
    pub(super) authorization: Option<String>,
}

impl Faults {
    /// Counts a request, and says with which status it fails.
    pub(super) fn next(&mut self, authorization: Option<&str>) -> Option<u16> {
        self.requests = self.requests.saturating_add(1);
        let (left, status) = self.failing;
        if left > 0 {
            self.failing.0 = left.saturating_sub(1);
            return Some(status);
        }
        (self.authorization.is_some() && self.authorization.as_deref() != authorization).then_some(401)
    }
}
