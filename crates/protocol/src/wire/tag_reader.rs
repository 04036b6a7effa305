//! Reads tagged fields (KIP-482): a structure takes those it knows, and the others stay in the frame.

use bytes::Bytes;

use super::{Reader, UnknownTags};
use crate::DecodeError;

impl<'a> Reader<'a> {
    /// The tagged fields at the end of a structure. `known` reads the fields it knows from a reader of just their
    /// bytes and says false to the others, which are kept.
    ///
    /// # Errors
    /// When the section is not well formed, or a known field does not fill its length.
    #[inline]
    pub fn tags(
        &mut self,
        known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<UnknownTags, DecodeError> {
        if self.no_tags() { Ok(UnknownTags::default()) } else { self.some_tags(known) }
    }

    #[inline(never)]
    fn some_tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<UnknownTags, DecodeError> {
        let mut unknown: Option<Unknown<'a>> = None;
        self.each_tag(|tag, field, place| {
            if known(tag, field)? {
                unknown.iter_mut().for_each(|unknown| unknown.pass_known(tag));
                return Ok(());
            }
            field.pass_over();
            match &mut unknown {
                Some(unknown) => unknown.left = place.left,
                None => {
                    field.charge_for_tags()?;
                    unknown = Some(Unknown { from: place.from, left: place.left, known: Vec::new() });
                }
            }
            Ok(())
        })?;
        Ok(unknown.map_or_else(UnknownTags::default, |unknown| unknown.keep(self.frame)))
    }

    /// The tagged fields of a structure that has none of its own.
    ///
    /// # Errors
    /// As [`tags`](Self::tags).
    #[inline]
    pub fn unknown_tags(&mut self) -> Result<UnknownTags, DecodeError> {
        self.tags(|_, _| Ok(false))
    }

    /// Passes over the count of a section without fields. Hardly a structure has any.
    #[inline]
    pub(super) fn no_tags(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Hands every tagged field to `read`, in a reader of just its bytes, which it must come to the end of.
    pub(super) fn each_tag(
        &mut self,
        mut read: impl FnMut(u32, &mut Reader<'a>, Place<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let from = self.rest;
            let tag = self.unsigned_varint()?;
            let len = self.unsigned_varint()? as usize;
            let rest = self.take(len)?;
            let mut field = Reader { frame: self.frame, rest, end: self.position(), headroom: self.headroom };
            read(tag, &mut field, Place { from, left: self.rest.len() })?;
            self.headroom = field.headroom;
            field.finish()?;
        }
        Ok(())
    }

    /// Goes to the end of an unknown tagged field.
    pub(super) fn pass_over(&mut self) {
        self.rest = &[];
    }

    /// Charges for keeping the unknown tagged fields of a structure.
    pub(super) fn charge_for_tags(&mut self) -> Result<(), DecodeError> {
        self.headroom.charge(UnknownTags::ROOM).map_err(|kind| self.error(kind))
    }
}

/// Where a tagged field stands.
pub(super) struct Place<'a> {
    /// The input from the field's tag on.
    from: &'a [u8],
    /// How much of it is left behind the field.
    left: usize,
}

/// The unknown fields of a section.
struct Unknown<'a> {
    /// The input from the first one's tag on.
    from: &'a [u8],
    /// How much of it is left behind the last one.
    left: usize,
    /// The known tags behind the first one.
    known: Vec<u32>,
}

impl Unknown<'_> {
    fn pass_known(&mut self, tag: u32) {
        if !self.known.contains(&tag) {
            self.known.push(tag);
        }
    }

    fn keep(self, frame: &Bytes) -> UnknownTags {
        let fields = self.from.get(..self.from.len().saturating_sub(self.left)).unwrap_or_default();
        UnknownTags::in_frame(frame.slice_ref(fields), self.known)
    }
}
