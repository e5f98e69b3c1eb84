//! Writes an object part by part, with at most one part in memory.

use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload};
use tokio::runtime::Handle;

use super::error::{Context, Error};

/// Bytes of each part but the last; stores want 5 MiB at least, and take 10,000 parts.
const PART_BYTES: usize = 8 * 1_024 * 1_024;

/// An upload of a large object. The object exists as a whole after [`LargeUpload::finish`] was awaited, and not before.
/// A dropped upload, as of a disconnected client, is aborted: the parts would stay in the bucket and cost money.
pub struct LargeUpload {
    /// `None` after the end of the upload.
    parts: Option<Box<dyn MultipartUpload>>,
    path: String,
    context: Context,
    pieces: Vec<Bytes>,
    held_bytes: usize,
}

impl LargeUpload {
    /// Bytes from which an object is written in parts.
    pub const BYTES_MIN: u64 = PART_BYTES as u64;

    pub(super) const fn new(parts: Box<dyn MultipartUpload>, path: String, context: Context) -> Self {
        Self { parts: Some(parts), path, context, pieces: Vec::new(), held_bytes: 0 }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error`]; the upload is of no use then.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while self.held_bytes.saturating_add(bytes.len()) >= PART_BYTES {
            // All parts but the last have the same length, as some stores require.
            let piece = bytes.split_to(PART_BYTES.saturating_sub(self.held_bytes));
            self.pieces.push(piece);
            self.send().await?;
        }
        self.held_bytes = self.held_bytes.saturating_add(bytes.len());
        if !bytes.is_empty() {
            self.pieces.push(bytes);
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.held_bytes = 0;
        let payload: PutPayload = std::mem::take(&mut self.pieces).into_iter().collect();
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let sent = parts.put_part(payload).await;
        sent.map_err(|error| self.context.error("writing", &self.path, &error))
    }

    /// Makes the object of all written bytes.
    ///
    /// # Errors
    /// [`Error`]; no object exists then.
    pub async fn finish(mut self) -> Result<(), Error> {
        let result = self.complete().await;
        if result.is_err() {
            self.abort().await;
        }
        result
    }

    async fn complete(&mut self) -> Result<(), Error> {
        if !self.pieces.is_empty() {
            self.send().await?;
        }
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let completed = parts.complete().await;
        completed.map_err(|error| self.context.error("writing", &self.path, &error))?;
        self.parts = None;
        Ok(())
    }

    /// Aborts the upload, and has the store remove the parts.
    pub async fn abort(mut self) {
        // A drop during the wait aborts the upload, too.
        let Some(parts) = &mut self.parts else { return };
        let aborted = parts.abort().await;
        self.parts = None;
        report(aborted, &self.context, &self.path);
    }
}

impl Drop for LargeUpload {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and no request can be sent any more.
        let (Some(mut parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) else { return };
        let (context, path) = (self.context.clone(), std::mem::take(&mut self.path));
        runtime.spawn(async move { report(parts.abort().await, &context, &path) });
    }
}

fn report(aborted: object_store::Result<()>, context: &Context, path: &str) {
    if let Err(error) = aborted {
        let error = context.error("removing parts of", path, &error);
        tracing::warn!(%error, "parts of an unfinished object stay in the store");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use devanture_config::api::Secret;
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::s3::{Address, Bucket, Variables};

    /// Longest wait for an immediate event.
    const COMES: Duration = Duration::from_secs(60);
    /// The answer to the start of an upload.
    const BEGUN: &[u8] = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";

    /// A minimal store that starts every upload, answers no part, and reports the method of each request.
    async fn store() -> (Bucket, mpsc::UnboundedReceiver<http::Method>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let sender = sender.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        body.collect().await.ok();
                        sender.send(parts.method.clone()).ok();
                        Ok::<_, Infallible>(match parts.method {
                            http::Method::PUT => std::future::pending().await,
                            http::Method::POST => http::Response::new(Full::new(Bytes::from_static(BEGUN))),
                            _ => http::Response::builder().status(204).body(Full::default()).unwrap(),
                        })
                    }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        let variables: Variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
        ]
        .map(|(name, value)| (name.to_owned(), Secret::new(value)))
        .into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let address: Address = "s3://bucket/edge".parse().unwrap();
        (Bucket::new(&address, &variables, Arc::new(tls)).unwrap(), requests)
    }

    #[tokio::test]
    async fn the_store_removes_the_parts_of_an_object_whose_writer_has_left() {
        let (bucket, mut requests) = store().await;
        let mut upload = bucket.write_large("file").await.unwrap();
        assert_eq!(requests.recv().await, Some(http::Method::POST));
        let writing = tokio::spawn(async move { upload.write(vec![0; PART_BYTES].into()).await });
        assert_eq!(timeout(COMES, requests.recv()).await.unwrap(), Some(http::Method::PUT));
        writing.abort();
        assert_eq!(timeout(COMES, requests.recv()).await.expect("its parts stay"), Some(http::Method::DELETE));
    }

    #[tokio::test]
    async fn an_object_that_was_given_up_is_given_up_once() {
        let (bucket, mut requests) = store().await;
        bucket.write_large("file").await.unwrap().abort().await;
        bucket.write_large("other").await.unwrap().abort().await;
        let mut methods = Vec::new();
        for _ in 0..4 {
            methods.push(timeout(COMES, requests.recv()).await.unwrap().unwrap());
        }
        assert_eq!(methods, [http::Method::POST, http::Method::DELETE, http::Method::POST, http::Method::DELETE]);
    }
}
