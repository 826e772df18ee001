//! Reading a body without being drowned or kept waiting.
//!
//! Works on any stream of pieces; decompression happens before, so that the bytes counted are the inflated ones.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use thv_config::world::Clock;

use crate::error::{HttpError, Phase};
use crate::limits::{BODY_PREALLOCATE_MAX, Limits};

/// Collects `pieces`, refusing more than `limits.max_bytes` and gaps longer than `limits.idle`. An announced length
/// over the limit is refused before the first piece is read.
pub(crate) async fn read_bounded(
    mut pieces: impl Stream<Item = Result<Bytes, HttpError>> + Unpin,
    announced: Option<u64>,
    limits: Limits,
    clock: &dyn Clock,
) -> Result<Bytes, HttpError> {
    let limit = limits.max_bytes;
    if announced.is_some_and(|length| length > limit) {
        return Err(HttpError::TooLarge { limit });
    }
    let capacity = announced.unwrap_or(0).min(BODY_PREALLOCATE_MAX);
    let mut body = BytesMut::with_capacity(usize::try_from(capacity).unwrap_or(0));
    loop {
        let piece = tokio::select! {
            biased;
            piece = pieces.next() => piece,
            () = clock.sleep(limits.idle) => return Err(HttpError::Timeout { limit: limits.idle, which: Phase::Idle }),
        };
        let Some(piece) = piece.transpose()? else {
            return Ok(body.freeze());
        };
        let length = body.len().saturating_add(piece.len());
        if u64::try_from(length).unwrap_or(u64::MAX) > limit {
            return Err(HttpError::TooLarge { limit });
        }
        body.extend_from_slice(&piece);
    }
}
