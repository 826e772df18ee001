//! Reading a request's body whole before its handler runs: at most a fixed size, within a fixed
//! time (F50). A body that is too large is read on for a moment and thrown away, because a
//! client that still sends when we close never sees the answer.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::BytesMut;
use http::header;
use http_body_util::BodyExt;

use crate::error::Problem;
use crate::limits;

/// Puts the whole body in the place of the one that is still under way.
pub(crate) async fn collect(request: Request) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, mut body) = request.into_parts();
    if HttpBody::size_hint(&body).lower() > limits::MAX_BODY_BYTES as u64 {
        // A client that waits to be told to go on has sent nothing yet.
        if !head.headers.contains_key(header::EXPECT) {
            drain(&mut body).await;
        }
        return Err(Problem::body_too_large());
    }
    match tokio::time::timeout(limits::BODY_TIME, read(&mut body)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes.freeze()))),
        Ok(Err(Broken::TooLarge)) => {
            drain(&mut body).await;
            Err(Problem::body_too_large())
        }
        Ok(Err(Broken::Off)) => Err(Problem::body_broken()),
        Err(_) => Err(Problem::body_too_slow()),
    }
}

enum Broken {
    TooLarge,
    Off,
}

async fn read(body: &mut Body) -> Result<BytesMut, Broken> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Broken::Off)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limits::MAX_BODY_BYTES {
                return Err(Broken::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

async fn drain(body: &mut Body) {
    let drained = async {
        let mut left = limits::MAX_DRAINED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, bytes::Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whether the end was reached makes no difference to the answer.
    let _ = tokio::time::timeout(limits::DRAIN_TIME, drained).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http::StatusCode;

    use super::*;
    use crate::error::Door;

    fn chunked(pieces: usize, size: usize) -> Request {
        let piece = Bytes::from(vec![b'x'; size]);
        Request::new(Body::from_stream(stream::iter(
            (0..pieces).map(move |_| Ok::<_, Infallible>(piece.clone())),
        )))
    }

    fn status(problem: &Problem) -> StatusCode {
        problem.render(Door::Plain, false).status()
    }

    #[tokio::test]
    async fn exactly_the_limit_is_taken() {
        let request = collect(chunked(1024, 1024)).await.unwrap();
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), limits::MAX_BODY_BYTES);
    }

    #[tokio::test]
    async fn f50_a_chunked_body_over_the_limit_is_refused() {
        let problem = collect(chunked(2048, 1024)).await.unwrap_err();
        assert_eq!(status(&problem), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_body_announced_over_the_limit_is_refused() {
        let body = Body::from(vec![b'x'; limits::MAX_BODY_BYTES + 1]);
        let problem = collect(Request::new(body)).await.unwrap_err();
        assert_eq!(status(&problem), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn f50_a_drip_fed_body_ends_after_its_time() {
        let drip = stream::repeat(Bytes::from_static(b"x")).then(|byte| async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            Ok::<_, Infallible>(byte)
        });
        let problem = collect(Request::new(Body::from_stream(drip)))
            .await
            .unwrap_err();
        assert_eq!(status(&problem), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_told_from_a_slow_one() {
        let broken = stream::iter([
            Ok(Bytes::from_static(b"{")),
            Err(std::io::Error::other("gone")),
        ]);
        let problem = collect(Request::new(Body::from_stream(broken)))
            .await
            .unwrap_err();
        assert_eq!(status(&problem), StatusCode::BAD_REQUEST);
    }
}
