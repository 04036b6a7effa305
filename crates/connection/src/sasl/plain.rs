//! PLAIN (RFC 4616): user and password in one message.

use crate::Secret;

/// Nobody to act for, the user, the password.
pub(super) fn message(user: &str, password: &Secret) -> Vec<u8> {
    [b"\0", user.as_bytes(), b"\0", password.expose().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_stand_behind_zeros() {
        assert_eq!(message("alice", &"se\u{e9}".into()), "\0alice\0se\u{e9}".as_bytes());
    }
}
