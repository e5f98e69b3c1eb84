//! The socket in the data folder, through which the owner of the folder calls a running edge without a token.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{
    AccountInfo, AccountList, AccountName, AccountRequest, PasswordRequest, Secret, TokenInfo, TokenList, TokenMade,
    TokenRequest,
};
use devanture_config::edge_toml::EdgeFile;
use devanture_config::problem::{Code, Problem};
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};

use super::data_socket;
use super::error::StartError;
use super::health_socket;
use super::own_socket::{KeptListener, OwnSocket};
use super::stores::{CATALOG_NAME, data_dir, has_catalog, open_catalog_alone};
use devanture_base::durable;
use devanture_control::access::Credentials;
use devanture_control::admin::{Admin, SECRETS_LINE, Via};
use devanture_control::ledger::{Actor, Audit, Error};
use devanture_control::settings::{KeyFile, LostSecrets};
use devanture_store::catalog::Catalog;

/// The name of the socket in the data folder.
pub const SOCKET_NAME: &str = "control.sock";
/// Pause after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Time limit of a response of the running edge about itself.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Time limit of a connect to the address of the API.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The socket, and its first listener.
pub(super) struct LocalSocket {
    socket: Arc<OwnSocket>,
    first: Option<UnixListener>,
}

/// Opens the socket. Without the socket, the edge serves nevertheless, and tries again; meanwhile, the commands `token`
/// and `account` fail.
pub(super) fn bind(socket: &Arc<OwnSocket>) -> LocalSocket {
    let bound = socket.bind().inspect_err(|error| {
        tracing::warn!(path = %socket.path().display(), %error, "the local socket cannot be opened yet: until it is, tokens and accounts can be made only while the edge is stopped");
    });
    LocalSocket { socket: Arc::clone(socket), first: bound.ok() }
}

/// Serves the API to every user with access to the socket. Ends with the thread.
pub(super) async fn serve(local: LocalSocket, catalog: Arc<dyn Catalog>, admin: Arc<Admin>) {
    let LocalSocket { socket, first } = local;
    tokio::task::spawn_local(health_socket::serve(Arc::clone(&socket), Arc::clone(&catalog), Arc::clone(&admin)));
    let mut listener = match KeptListener::new(socket, first, catalog) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "the local socket cannot be used");
            return;
        }
    };
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // A temporary failure, for example a lack of descriptors.
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

/// Checks, before a catalog is created, that no server listens at the address of the API: an edge whose data folder was
/// moved or replaced at run time would accept no token from a new catalog.
async fn check_no_edge_runs(file: &EdgeFile, data_dir: &Path) -> Result<(), LocalError> {
    let admin = file.listen.admin;
    match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(admin)).await {
        Ok(Ok(_)) => Err(LocalError::Elsewhere { admin, data_dir: data_dir.display().to_string() }),
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

/// Error of a local operation.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The edge, or the catalog, refused the operation.
    #[error("{}", detail(.0))]
    Refused(#[from] Error),
    /// Neither the edge nor the catalog is usable.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An edge runs, but with another data folder.
    #[error(
        "something answers at {admin}, and {data_dir} holds no catalog: if it is this edge, its data folder was moved or \
         replaced while it runs. Put the folder back, or stop the edge first"
    )]
    Elsewhere {
        /// The address of the API.
        admin: SocketAddr,
        /// The data folder.
        data_dir: String,
    },
    /// A signal interrupted the operation, and no pause remains.
    #[error("it was interrupted, and changes go on")]
    Interrupted,
    /// The running edge did not respond.
    #[error("the running edge does not answer: {0}")]
    Unanswered(String),
}

/// Returns a problem with its hint.
fn detail(Error(problem): &Error) -> String {
    match &problem.hint {
        Some(hint) => format!("{problem}\nhint: {hint}"),
        None => problem.to_string(),
    }
}

/// Returns problems of the stored state, a sentence for each: environments whose instances cannot start because the key
/// of their secrets is missing; and, without a running edge, apps with names reserved by `edge.toml`. Empty if neither
/// the running edge nor the catalog is reachable.
pub async fn check_stored(file: &EdgeFile, base: &Path) -> Vec<String> {
    let data_dir = data_dir(file, base);
    let socket = data_dir.join(SOCKET_NAME);
    if data_socket::connect(&socket).await.is_ok() {
        let mut found = devanture_control::places::clashing_names(file, None).await.unwrap_or_default();
        let Ok(answer) = ask(&socket, Method::GET, "/health/ready", NOTHING).await else { return found };
        let text = String::from_utf8_lossy(&answer).into_owned();
        found.extend(text.lines().filter_map(|line| line.strip_prefix(SECRETS_LINE)).map(str::to_owned));
        return found;
    }
    // A folder that no edge has used yet is left unchanged.
    let is_used = data_dir.join(CATALOG_NAME).exists();
    let catalog = if is_used { open_catalog_alone(file, base).await.ok() } else { None };
    let mut found = devanture_control::places::clashing_names(file, catalog.as_deref()).await.unwrap_or_default();
    let Some(catalog) = catalog else { return found };
    let keys = KeyFile::new(file.secrets_key_file().map(|path| base.join(path)));
    let lost = devanture_control::settings::lost_secrets(&*catalog, &keys).await.unwrap_or_default();
    found.extend(lost.iter().map(LostSecrets::sentence));
    found
}

/// Asks the running edge of the data folder for its liveness, or with `ready` for its readiness, even if the socket in
/// the folder cannot be reached. Returns the response, whose lines may report faults of a serving edge.
///
/// # Errors
/// [`LocalError`] if no edge runs, if no response arrives within 5 seconds, or if the edge is not ready.
pub async fn health(file: &EdgeFile, base: &Path, ready: bool) -> Result<String, LocalError> {
    let path = if ready { "/health/ready" } else { "/health/live" };
    let data_dir = data_dir(file, base);
    let socket = data_dir.join(SOCKET_NAME);
    if data_socket::connect(&socket).await.is_err()
        && let Some(answer) = ask_beside(&data_dir, path).await
    {
        return answer;
    }
    ask_text(&socket, path).await
}

/// Operations of the owner of the data folder: through the running edge if any, and in the catalog otherwise.
pub struct Local(StoreAccess);

enum StoreAccess {
    /// The edge runs, with the given socket.
    Running(PathBuf),
    /// The edge does not run, and the catalog is open.
    Stopped(Box<Credentials>),
}

impl Local {
    /// Finds the running edge, or opens the catalog.
    ///
    /// # Errors
    /// Fails if the catalog cannot be opened.
    pub async fn open(file: &EdgeFile, base: &Path) -> Result<Self, LocalError> {
        let data_dir = data_dir(file, base);
        let socket = data_dir.join(SOCKET_NAME);
        if data_socket::connect(&socket).await.is_ok() {
            return Ok(Self(StoreAccess::Running(socket)));
        }
        if !has_catalog(&data_dir)? {
            check_no_edge_runs(file, &data_dir).await?;
        }
        durable::make_for_owner_of(&data_dir);
        durable::make_folder(&data_dir).map_err(StartError::from)?;
        let catalog = open_catalog_alone(file, base).await?;
        let audit = Audit::new(Arc::clone(&catalog), &file.limits);
        Ok(Self(StoreAccess::Stopped(Box::new(Credentials::new(catalog, audit, &file.limits)))))
    }

    /// Creates a token.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn create_token(&self, request: TokenRequest) -> Result<TokenMade, LocalError> {
        match &self.0 {
            StoreAccess::Running(socket) => read(&ask(socket, Method::POST, "/v1/tokens", Some(&request)).await?),
            StoreAccess::Stopped(credentials) => Ok(credentials.create(&Actor::local(), request).await?),
        }
    }

    /// Lists all tokens.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, LocalError> {
        let mut tokens = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page: TokenList = match &self.0 {
                StoreAccess::Running(socket) => {
                    let after = after.map_or_else(String::new, |after| format!("&after={after}"));
                    read(&ask(socket, Method::GET, &format!("/v1/tokens?limit={PAGE}{after}"), NOTHING).await?)?
                }
                StoreAccess::Stopped(credentials) => {
                    credentials.tokens(&Actor::local(), None, PAGE, after.as_deref()).await?
                }
            };
            tokens.extend(page.tokens);
            after = page.next;
            if after.is_none() {
                return Ok(tokens);
            }
        }
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn revoke_token(&self, id: &str) -> Result<(), LocalError> {
        match &self.0 {
            StoreAccess::Running(socket) => {
                let path = format!("/v1/tokens/{}", encoded(id));
                ask(socket, Method::DELETE, &path, NOTHING).await.map(drop)
            }
            StoreAccess::Stopped(credentials) => Ok(credentials.revoke(&Actor::local(), id).await?),
        }
    }

    /// Creates an account.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn create_account(&self, request: AccountRequest) -> Result<AccountInfo, LocalError> {
        match &self.0 {
            StoreAccess::Running(socket) => read(&ask(socket, Method::POST, "/v1/accounts", Some(&request)).await?),
            StoreAccess::Stopped(credentials) => Ok(credentials.create_account(&Actor::local(), request).await?),
        }
    }

    /// Lists all accounts.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn accounts(&self) -> Result<AccountList, LocalError> {
        match &self.0 {
            StoreAccess::Running(socket) => read(&ask(socket, Method::GET, "/v1/accounts", NOTHING).await?),
            StoreAccess::Stopped(credentials) => Ok(credentials.accounts(&Actor::local()).await?),
        }
    }

    /// Sets the password of an account.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn set_password(&self, name: &AccountName, password: Secret) -> Result<(), LocalError> {
        match &self.0 {
            StoreAccess::Running(socket) => {
                let path = format!("/v1/accounts/{}/password", encoded(name.as_str()));
                ask(socket, Method::PUT, &path, Some(&PasswordRequest { password })).await.map(drop)
            }
            StoreAccess::Stopped(credentials) => Ok(credentials.set_password(&Actor::local(), name, &password).await?),
        }
    }

    /// Deletes an account.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn delete_account(&self, name: &AccountName) -> Result<(), LocalError> {
        match &self.0 {
            StoreAccess::Running(socket) => {
                let path = format!("/v1/accounts/{}", encoded(name.as_str()));
                ask(socket, Method::DELETE, &path, NOTHING).await.map(drop)
            }
            StoreAccess::Stopped(credentials) => Ok(credentials.delete_account(&Actor::local(), name).await?),
        }
    }
}

/// Creates a token: through the running edge if any, and in the catalog otherwise.
///
/// # Errors
/// [`LocalError`].
pub async fn create_token(file: &EdgeFile, base: &Path, request: TokenRequest) -> Result<TokenMade, LocalError> {
    Local::open(file, base).await?.create_token(request).await
}

/// A request without a body.
pub(super) const NOTHING: Option<&()> = None;
/// Number of tokens per request.
const PAGE: usize = 1_000;

/// Encodes one segment of a path.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn unanswered(error: &dyn std::error::Error) -> LocalError {
    LocalError::Unanswered(error.to_string())
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, LocalError> {
    serde_json::from_slice(body).map_err(|error| unanswered(&error))
}

/// Requests a text from the running edge within [`ANSWER_MAX`].
pub(crate) async fn ask_text(socket: &Path, path: &str) -> Result<String, LocalError> {
    text_in_time(ask(socket, Method::GET, path, NOTHING)).await
}

/// Requests the health, as [`ask_text`] does, of an edge whose socket in the data folder cannot be reached. `None`
/// without an edge.
pub(crate) async fn ask_beside(data_dir: &Path, path: &str) -> Option<Result<String, LocalError>> {
    let stream = health_socket::connect(data_dir).await?;
    Some(text_in_time(exchange(stream, Method::GET, path, None)).await)
}

async fn text_in_time(answer: impl Future<Output = Result<Bytes, LocalError>>) -> Result<String, LocalError> {
    let late = |_elapsed| LocalError::Unanswered(format!("nothing came within {} s", ANSWER_MAX.as_secs()));
    let answer = tokio::time::timeout(ANSWER_MAX, answer).await.map_err(late)??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends a request to the running edge; returns the body of a successful response.
pub(super) async fn ask<T: Serialize + Sync>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&T>,
) -> Result<Bytes, LocalError> {
    let mut bytes = None;
    if let Some(body) = body {
        let json = serde_json::to_vec(body).map_err(|error| unanswered(&error))?;
        bytes = Some(("application/json", Bytes::from(json)));
    }
    send(socket, method, path, bytes).await
}

/// Sends a request as [`ask`] does, with a body of any media type.
pub(super) async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<(&'static str, Bytes)>,
) -> Result<Bytes, LocalError> {
    let stream = data_socket::connect(socket).await.map_err(|error| {
        let next = match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => ". Start it, or name its configuration by --config",
            ErrorKind::PermissionDenied => ". Call this as the user that it runs as",
            _ => "",
        };
        LocalError::Unanswered(format!("{}: {error}{next}", socket.display()))
    })?;
    exchange(stream, method, path, body).await
}

/// Sends one request over a connection; returns the body of a successful response.
async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<(&'static str, Bytes)>,
) -> Result<Bytes, LocalError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unanswered(&error))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    let mut bytes = Bytes::new();
    if let Some((media_type, body)) = body {
        request = request.header(CONTENT_TYPE, media_type);
        bytes = body;
    }
    let request = request.body(Full::new(bytes)).map_err(|error| unanswered(&error))?;
    let response = sender.send_request(request).await.map_err(|error| match error.is_incomplete_message() {
        // The edge was working on a long response, for example of `verify`.
        true => LocalError::Unanswered(format!("{error}, as it ends or a new edge takes over; run this again")),
        false => unanswered(&error),
    })?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| unanswered(&error))?.to_bytes();
    connection.abort();
    if status.is_success() {
        return Ok(body);
    }
    let problem: Problem = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Problem::new(Code::Internal, format!("The edge answered {status}.")));
    Err(Error::from(problem).into())
}
