//! Base64, both alphabets.

/// Base64 with these two letters for the last digits.
#[must_use]
pub fn base64(bytes: &[u8], last: &str) -> String {
    let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(last.chars()).collect();
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut text: String = bits
        .as_bytes()
        .chunks(6)
        .filter_map(|six| {
            let index = (0..6).fold(0, |index, bit| index * 2 + usize::from(six.get(bit) == Some(&b'1')));
            digits.get(index)
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The bytes behind base64 in either alphabet, padded or not; `None` when it is none.
#[must_use]
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_every_remainder() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(super::base64(bytes.as_bytes(), "+/"), text);
            assert_eq!(super::unbase64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(super::base64(&[0xff; 3], "-_"), "____");
        assert_eq!(super::unbase64("____"), Some(vec![0xff; 3]));
        assert_eq!(super::unbase64("?"), None);
    }
}
