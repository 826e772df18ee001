//! A body of several buffers with a known length, so that a catalog's big object is sent from
//! where it lies and the answer still has a `Content-Length`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Buffers to send in their order.
#[derive(Debug)]
pub(super) struct Pieces {
    // Reversed, so that the next one is popped.
    left: Vec<Bytes>,
    length: usize,
}

// === impl Pieces ===

impl Pieces {
    pub(super) fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let mut left: Vec<_> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let length = left.iter().map(Bytes::len).sum();
        left.reverse();
        Self { left, length }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn into_inner(mut self) -> Vec<Bytes> {
        self.left.reverse();
        self.left
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.pop();
        self.length -= next.as_ref().map_or(0, Bytes::len);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn pieces_are_sent_in_order_under_one_length() {
        let pieces = Pieces::new([
            Bytes::from_static(b"a"),
            Bytes::new(),
            Bytes::from_static(b"bc"),
        ]);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.size_hint().exact(), Some(3));
        assert_eq!(pieces.collect().await.unwrap().to_bytes(), "abc");
    }
}
