//! How many bytes a variable-length integer takes.

/// The bytes of `value` as an unsigned varint: 1 to 5.
#[must_use]
pub const fn unsigned_varint_len(value: u32) -> usize {
    // 7 bits a byte; zero still takes one.
    let bits = u32::BITS.saturating_sub((value | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

/// The bytes of `value` as a zigzag varint: 1 to 5.
#[must_use]
pub const fn varint_len(value: i32) -> usize {
    unsigned_varint_len(zigzag(value))
}

/// The bytes of `value` as a zigzag varlong: 1 to 10.
#[must_use]
pub const fn varlong_len(value: i64) -> usize {
    let bits = u64::BITS.saturating_sub((zigzag_long(value) | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

/// Maps small magnitudes of either sign to small unsigned numbers.
pub(crate) const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

/// [`zigzag`] for 64 bits.
pub(crate) const fn zigzag_long(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

/// The inverse of [`zigzag_long`].
pub(crate) const fn unzigzag_long(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_at_the_edges() {
        for (value, len) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u32::MAX, 5)] {
            assert_eq!(unsigned_varint_len(value), len, "{value}");
        }
        for (value, len) in [(0, 1), (-1, 1), (63, 1), (64, 2), (-64, 1), (-65, 2), (i32::MIN, 5)] {
            assert_eq!(varint_len(value), len, "{value}");
        }
        for (value, len) in [(0, 1), (i64::MAX, 10), (i64::MIN, 10), (1 << 34, 6)] {
            assert_eq!(varlong_len(value), len, "{value}");
        }
    }

    #[test]
    fn zigzag_and_back() {
        for value in [0, 1, -1, 63, -64, i32::MAX, i32::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
            assert_eq!(unzigzag_long(zigzag_long(value.into())), i64::from(value));
        }
        for value in [i64::MIN, i64::MAX] {
            assert_eq!(unzigzag_long(zigzag_long(value)), value);
        }
    }
}
