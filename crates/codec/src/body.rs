//! The body of a request, whose length its head states (RFC 9112 section 6.2).

use crate::input::{Cursor, Place};
use crate::state::Pieces;

/// Continues a body of which `missing` bytes have not arrived, and returns its place once it is
/// complete. A body that arrives in several pieces is collected; memory follows the bytes that have
/// arrived, not `missing`.
pub(crate) fn read(
    missing: &mut u32,
    collected: &mut Pieces,
    cursor: &mut Cursor<'_>,
) -> Option<Place> {
    if collected.is_none()
        && let Some(range) = cursor.take_whole((*missing).into())
    {
        return Some(Place::Input(range));
    }
    let piece = cursor.take((*missing).into());
    if !piece.is_empty() {
        collected.get_or_insert_default().extend_from_slice(piece);
        *missing -= piece.len() as u32;
    }
    (*missing == 0).then_some(Place::Lent)
}
