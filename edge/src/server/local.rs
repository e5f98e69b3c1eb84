//! The socket in the data folder: by it whoever owns the folder asks a running edge without a token.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{TokenMade, TokenRequest};
use devanture_config::edge_toml::EdgeFile;
use devanture_config::problem::{Code, Problem};
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{CATALOG_NAME, StartError};
use crate::admin::{Admin, Via};
use crate::blobs::durable;
use crate::catalog;
use crate::publish::{Error, TokenStore};

/// The name of the socket in the data folder.
pub const SOCKET_NAME: &str = "control.sock";
/// How long the socket rests after a connection could not be taken.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// For the owner alone.
const MODE: u32 = 0o600;

/// Opens the socket. An edge without it serves all the same: only `token create` beside it cannot work.
pub(super) fn bind(path: &Path) -> Option<UnixListener> {
    let opened = || -> io::Result<UnixListener> {
        // What an edge that was killed left behind; the lock of the catalog says that no other edge is there.
        durable::remove_file(path).ok();
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    match opened() {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the local socket cannot be opened: tokens can be made only while the edge is stopped");
            None
        }
    }
}

/// Serves the API to whoever may open the socket. Ends with the thread.
pub(super) async fn serve(listener: UnixListener, admin: Arc<Admin>) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "the local socket cannot be used");
            return;
        }
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // As when no descriptor is left: that passes.
                tracing::warn!(%error, "a local connection could not be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let admin = Arc::clone(&admin);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, std::convert::Infallible>(admin.handle(request, Via::Local).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a local connection broke off");
            }
        });
    }
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The edge, or the catalog, refused.
    #[error(transparent)]
    Refused(#[from] Error),
    /// Neither the edge nor the catalog can be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The running edge did not answer.
    #[error("the running edge does not answer: {0}")]
    Unanswered(String),
}

/// Makes a token: by the running edge where there is one, else in the catalog itself.
///
/// # Errors
/// [`TokenError`].
pub async fn create_token(file: &EdgeFile, base: &Path, request: TokenRequest) -> Result<TokenMade, TokenError> {
    let data_dir = super::data_dir(file, base);
    if let Ok(stream) = UnixStream::connect(data_dir.join(SOCKET_NAME)).await {
        return ask(stream, &request).await;
    }
    durable::make_folder(&data_dir).map_err(StartError::from)?;
    let catalog = catalog::open(&data_dir.join(CATALOG_NAME)).map_err(StartError::from)?;
    Ok(TokenStore::new(catalog).create(request).await?)
}

async fn ask(stream: UnixStream, request: &TokenRequest) -> Result<TokenMade, TokenError> {
    let failed = |error: &dyn std::error::Error| TokenError::Unanswered(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let body = serde_json::to_vec(request).map_err(|error| failed(&error))?;
    let request = Request::post("/v1/tokens")
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    connection.abort();
    if status == StatusCode::CREATED {
        return serde_json::from_slice(&body).map_err(|error| failed(&error));
    }
    let problem: Problem = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Problem::new(Code::Internal, format!("The edge answered {status}.")));
    Err(Error::from(problem).into())
}
