//! An input read as a list of decisions.

use bytes::Bytes;

/// What happens next, byte by byte. A script that has ended says zero.
#[derive(Debug)]
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let [byte] = self.chunk();
        byte
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.chunk())
    }

    pub(super) fn long(&mut self) -> u64 {
        u64::from_be_bytes(self.chunk())
    }

    /// Up to `len` bytes, as many as there are.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A lie: the bytes with some of them changed, or cut off.
    pub(super) fn spoil(&mut self, bytes: &Bytes) -> Bytes {
        let mut spoilt = bytes.to_vec();
        for _ in 0..1 + self.byte() % 4 {
            let (how, at, value) = (self.byte(), usize::from(self.short()), self.byte());
            let Some(at) = at.checked_rem(spoilt.len()) else { break };
            match how % 8 {
                0 => spoilt.truncate(at),
                1 => spoilt.insert(at, value),
                2 => drop(spoilt.remove(at)),
                _ => {
                    if let Some(byte) = spoilt.get_mut(at) {
                        *byte = match how % 8 {
                            3 => byte.wrapping_add(1),
                            4 => byte.wrapping_sub(1),
                            5 => *byte ^ (1 << (value % 8)),
                            _ => value,
                        };
                    }
                }
            }
        }
        spoilt.into()
    }

    fn chunk<const N: usize>(&mut self) -> [u8; N] {
        let mut chunk = [0; N];
        for (byte, taken) in chunk.iter_mut().zip(self.take(N)) {
            *byte = *taken;
        }
        chunk
    }
}
