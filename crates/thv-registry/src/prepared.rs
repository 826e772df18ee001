//! A response body that is rendered once per snapshot and shared by all who ask.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

/// One body, as it is and compressed, with the entity tag of its content.
#[derive(Debug)]
pub struct Prepared {
    identity: Bytes,
    etag: String,
    gzip: OnceCell<Bytes>,
}

// === impl Prepared ===

impl Prepared {
    pub(crate) fn new(identity: Vec<u8>, etag: String) -> Self {
        Self {
            identity: Bytes::from(identity),
            etag,
            gzip: OnceCell::new(),
        }
    }

    /// The body, uncompressed.
    pub fn identity(&self) -> Bytes {
        self.identity.clone()
    }

    /// The body, gzip-compressed (RFC 1952). The first call compresses it on a blocking thread;
    /// calls meanwhile wait for that one.
    pub async fn gzip(&self) -> Bytes {
        self.gzip
            .get_or_init(|| async {
                let identity = self.identity.clone();
                tokio::task::spawn_blocking(move || compress(&identity))
                    .await
                    .unwrap_or_default()
            })
            .await
            .clone()
    }

    /// Entity tag of the uncompressed body, with its quotes (RFC 9110, section 8.8.3).
    pub fn etag(&self) -> &str {
        &self.etag
    }
}

/// Level 4 compresses catalogs within a tenth of the best level at a fraction of its time.
fn compress(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 6), Compression::new(4));
    // Writing to memory does not fail.
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    Bytes::from(written.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn the_compressed_body_inflates_to_the_plain_one() {
        let body = br#"{"servers":[]}"#.repeat(100);
        let prepared = Prepared::new(body.clone(), "\"x\"".to_owned());
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&prepared.gzip().await[..])
            .read_to_end(&mut inflated)
            .unwrap();
        assert_eq!(inflated, body);
        assert!(prepared.gzip().await.len() < body.len());
    }
}
