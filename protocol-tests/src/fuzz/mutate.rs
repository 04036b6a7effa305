//! Changes inputs the way a hostile or broken peer would, reproducibly.

use fastrand::Rng;

/// No mutation makes an input longer than this.
const LONGEST: usize = 64 * 1024;
/// Bytes at which codecs turn off.
const BYTES: &[u8] = &[0, 1, 2, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff];
/// Varints of every length, the largest of their kind, too long, and longer than they need be.
const VARINTS: &[&[u8]] = &[
    &[0x00],
    &[0x7f],
    &[0xff, 0x7f],
    &[0xff, 0xff, 0x03],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x1f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x00],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
];

/// Execution `number` of a run: which input, made of `corpus` in a way that depends on nothing else. The first ones are
/// the corpus itself.
#[must_use]
pub fn input(corpus: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    if let Some(unchanged) = usize::try_from(number).ok().and_then(|at| corpus.get(at)) {
        return unchanged.clone();
    }
    // Numbers in a row give seeds far apart.
    let mut random = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut input = random.choice(corpus).cloned().unwrap_or_default();
    let changes = 1 + random.u32(0..4) * random.u32(0..2);
    for _ in 0..changes {
        change(&mut input, corpus, &mut random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Rng) {
    if input.is_empty() {
        input.push(random.u8(..));
        return;
    }
    let at = random.usize(0..input.len());
    match random.u8(0..13) {
        0 => edit(input, at, |byte| byte ^ (1 << random.u8(0..8))),
        1 => edit(input, at, |byte| byte.wrapping_add(1)),
        2 => edit(input, at, |byte| byte.wrapping_sub(1)),
        3 => edit(input, at, |_| random.choice(BYTES).copied().unwrap_or_default()),
        4 => {
            let width = 1 << random.u32(1..4);
            let number = length_like(input.len() - at, random).to_be_bytes();
            overwrite(input, at, number.get(8 - width..).unwrap_or_default());
        }
        5 => overwrite(input, at, varint(random)),
        6 => drop(input.splice(at..at + 1, varint(random).iter().copied())),
        7 => input.truncate(at),
        8 => {
            let (byte, more) = (random.choice([0, 0xff, 7]).unwrap_or_default(), random.usize(1..64));
            input.resize(input.len() + more, byte);
        }
        9 => {
            let other = random.choice(corpus).map(Vec::as_slice).unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(other.get(random.usize(0..=other.len())..).unwrap_or_default());
        }
        10 => {
            let end = (at + random.usize(1..32)).min(input.len());
            input.drain(at..end);
        }
        11 => {
            let end = (at + random.usize(1..256)).min(input.len());
            let chunk = input.get(at..end).unwrap_or_default().repeat(random.usize(1..8));
            input.splice(at..at, chunk);
        }
        // Most targets begin with what they are to read the rest as.
        _ => edit(input, random.usize(0..2), |byte| byte.wrapping_add(random.u8(..) % 9).wrapping_sub(4)),
    }
}

fn edit(input: &mut [u8], at: usize, edit: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = edit(*byte);
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, byte) in input.iter_mut().skip(at).zip(bytes) {
        *to = *byte;
    }
}

fn varint(random: &mut Rng) -> &'static [u8] {
    random.choice(VARINTS).copied().unwrap_or_default()
}

/// Numbers that lengths and counts must be held against.
fn length_like(left: usize, random: &mut Rng) -> i64 {
    let left = left as i64;
    let numbers = [
        -1,
        0,
        1,
        -2,
        left,
        left + 1,
        left - 4,
        left / 2,
        left * 2,
        i64::from(i16::MAX),
        i64::from(i16::MIN),
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
    ];
    random.choice(numbers).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_same_number_gives_the_same_input_and_others_differ() {
        let corpus = vec![b"one two three four".to_vec(), vec![0; 100]];
        let inputs: std::collections::BTreeSet<_> =
            (0..1000).map(|number| super::input(&corpus, 1, number)).collect();
        assert!(inputs.len() > 700, "{}", inputs.len());
        assert_eq!(super::input(&corpus, 1, 500), super::input(&corpus, 1, 500));
        assert_eq!(super::input(&corpus, 1, 0), corpus[0]);
        assert!((0..1000).any(|number| super::input(&corpus, 1, number) != super::input(&corpus, 2, number)));
    }
}
