//! Listener for other nodes with a certificate of the cluster's CA.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devanture_config::api::NodeStatus;
use devanture_config::problem::Problem;
use devanture_config::{AppName, Digest};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::accept::{Bounds, accept};
use super::environment_messages::{ENVIRONMENT_QUERIES, EnvironmentQuery, EnvironmentReport};
use super::error::Error;
use super::forward::{self, Api};
use super::identity::Identity;
use super::instance_messages::{INSTANCES, RUNS};
use super::instance_service::{self, InstanceService};
use super::lines::{LineReader, LineSender, LinesBody, channel};
use super::logs::{self, LOGS, LogsRequest, LogsSender};
use super::messages::{
    ATTEMPTS_MAX, Answer, AttemptNote, GateHeld, GateRequest, Gone, Hold, Outcome, Placed, PrepareRequest, Progress,
};
use super::tunnel::{self, TUNNELS_MAX};
use devanture_base::fair::Shares;
use devanture_store::catalog::Revision;

/// Path for preparing a version.
pub(super) const PREPARE: &str = "/v1/prepare";
/// Path for a collection's query of leases.
pub(super) const GATE: &str = "/v1/gate";
/// Path for reports of login attempts.
pub(super) const ATTEMPTS: &str = "/v1/attempts";
/// Path for the status of a node.
pub(super) const STATUS: &str = "/v1/status";

/// Most bytes of request header fields.
const HEADERS_BYTES_MAX: u32 = 128 * 1024;
/// Backlog of connections.
const BACKLOG: i32 = 4_096;
/// Interval of pings on a connection, and longest wait for an answer; afterwards the node's holds are released.
const PING: Duration = Duration::from_secs(5);

/// Service of a node for other nodes.
#[async_trait]
pub trait Service: InstanceService {
    /// Prepares a version for a switch, and reports progress. The version stays ready for the lifetime of the result.
    ///
    /// # Errors
    /// The reason for a refusal.
    async fn prepare(&self, request: &PrepareRequest, progress: Progress<'_>) -> Result<Hold, Problem>;

    /// Waits until the switch committed at `revision` is in effect locally; false after a short time limit.
    async fn follow(&self, placed: Placed<'_>, revision: Revision) -> bool;

    /// Reports to `held` the requested files with local leases, and blocks new leases on the files until `gone` names
    /// the deleted files or is dropped.
    async fn close_gate(
        &self,
        files: &GateRequest,
        held: oneshot::Sender<GateHeld>,
        gone: oneshot::Receiver<Vec<Digest>>,
    );

    /// Sends the stored lines matching `request`; with `tail`, also live lines, until dropped.
    async fn logs(&self, request: LogsRequest, sender: LogsSender);

    /// Counts login attempts made on another node.
    fn count_attempts(&self, notes: &[AttemptNote]);

    /// Reports node-local state of an environment.
    async fn report_environment(&self, query: &EnvironmentQuery) -> EnvironmentReport;

    /// Returns the status of the node, with the versions of one app or of all.
    async fn status(&self, app: Option<&AppName>) -> NodeStatus;
}

/// Handlers for other nodes.
#[derive(Clone)]
pub struct Answers {
    /// Requests between nodes.
    pub service: Arc<dyn Service>,
    /// API requests received by another node.
    pub api: Arc<dyn Api>,
}

/// Socket of the node for other nodes.
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds the socket. Another process of the node may also have the address open, and gets all connections until
    /// [`Listener::listen`].
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        let bound = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let socket = std::net::TcpListener::from(socket);
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bound().map_err(|source| Error::Listen { address, source })
    }

    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections from now on, queued for [`Listener::serve`].
    ///
    /// # Errors
    /// [`Error::Listen`], in particular if another program has started listening at the address since the bind.
    pub fn listen(&self) -> Result<(), Error> {
        let listening = rustix::net::listen(&self.socket, BACKLOG);
        listening.map_err(|error| Error::Listen { address: self.address, source: error.into() })
    }

    /// Answers until `stop` is cancelled; running exchanges then continue.
    pub async fn serve(self, identity: Identity, answers: Answers, stop: CancellationToken) {
        let socket = match TcpListener::from_std(self.socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "other nodes cannot be answered");
                return;
            }
        };
        let tunnels = Shares::new(TUNNELS_MAX);
        let answer = move |tls, permit| answer(tls, answers.clone(), (permit, Arc::clone(&tunnels)));
        accept(socket, identity, Bounds::DEFAULT, stop, answer).await;
    }
}

async fn answer(
    tls: TlsStream<TcpStream>,
    answers: Answers,
    (permit, tunnels): (OwnedSemaphorePermit, Arc<Shares>),
) -> Result<(), String> {
    if tls.get_ref().1.alpn_protocol() == Some(tunnel::ALPN) {
        return tunnel::end(tls, answers.service.registry(), &tunnels, permit).await;
    }
    let respond = service_fn(move |mut request| {
        let answers = answers.clone();
        async move {
            Ok::<_, Infallible>(match forward::take_original(&mut request) {
                true => answers.api.answer(request).await,
                false => respond(request, answers.service),
            })
        }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // The limit of an API client, plus the fields added by the forwarding node.
        .max_header_list_size(HEADERS_BYTES_MAX)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(tls), respond)
        .await
        .map_err(|error| error.to_string())?;
    drop(permit);
    Ok(())
}

fn respond(request: Request<Incoming>, service: Arc<dyn Service>) -> Response<LinesBody> {
    let (sender, body) = channel();
    let status = match (request.method(), request.uri().path()) {
        (&Method::POST, PREPARE) => {
            tokio::spawn(prepare(LineReader::new(request.into_body()), sender, service));
            StatusCode::OK
        }
        (&Method::POST, GATE) => {
            tokio::spawn(gate(LineReader::new(request.into_body()), sender, service));
            StatusCode::OK
        }
        (&Method::POST, ATTEMPTS) => {
            tokio::spawn(attempts(LineReader::new(request.into_body()), sender, service));
            StatusCode::OK
        }
        (&Method::POST, LOGS) => {
            let reader = LineReader::new(request.into_body());
            tokio::spawn(async move { logs::answer(reader, sender, &*service).await });
            StatusCode::OK
        }
        (&Method::POST, ENVIRONMENT_QUERIES) => {
            let reader = LineReader::new(request.into_body());
            tokio::spawn(async move { answer_query(reader, sender, &*service).await });
            StatusCode::OK
        }
        (&Method::POST, STATUS) => {
            let app: Option<AppName> = request.uri().query().and_then(|app| app.parse().ok());
            tokio::spawn(async move {
                let status = service.status(app.as_ref()).await;
                sender.send(&Answer::Status(Box::new(status))).await
            });
            StatusCode::OK
        }
        (&Method::POST, RUNS) => {
            tokio::spawn(instance_service::report(sender, service.registry().clone()));
            StatusCode::OK
        }
        (&Method::POST, INSTANCES) => {
            let reader = LineReader::new(request.into_body());
            tokio::spawn(async move { instance_service::answer(reader, sender, &*service).await });
            StatusCode::OK
        }
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(if status == StatusCode::OK { body } else { no_lines() });
    *response.status_mut() = status;
    response
}

fn no_lines() -> LinesBody {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Counts attempts on another node, then ends the answer.
async fn attempts(mut reader: LineReader<Incoming>, _until_counted: LineSender, service: Arc<dyn Service>) {
    if let Ok(Some(mut notes)) = reader.next::<Vec<AttemptNote>>().await {
        notes.truncate(ATTEMPTS_MAX);
        service.count_attempts(&notes);
    }
}

/// Answers a query about node-local state of an environment.
async fn answer_query(mut reader: LineReader<Incoming>, sender: LineSender, service: &dyn Service) {
    let Ok(Some(query)) = reader.next::<EnvironmentQuery>().await else { return };
    sender.send(&Answer::Environment(Box::new(service.report_environment(&query).await))).await;
}

/// Prepares a version, and holds it until the other node has switched or is gone.
async fn prepare(mut reader: LineReader<Incoming>, sender: LineSender, service: Arc<dyn Service>) {
    let Ok(Some(request)) = reader.next::<PrepareRequest>().await else { return };
    let prepared = {
        let progress = |line: &str| sender.try_send(&Answer::Step(line.to_owned()));
        let mut preparing = service.prepare(&request, &progress);
        tokio::select! {
            prepared = &mut preparing => prepared,
            // The other node is gone, or has given up.
            _ = reader.next::<Outcome>() => return,
        }
    };
    let _hold: Hold = match prepared {
        Ok(hold) => hold,
        Err(problem) => {
            sender.send(&Answer::Problem(Box::new(problem))).await;
            return;
        }
    };
    if !sender.send(&Answer::Ready).await {
        return;
    }
    if let Ok(Some(Outcome::Switched(revision))) = reader.next::<Outcome>().await {
        let placed = Placed { app: &request.app, environment: &request.environment, version: request.version };
        if service.follow(placed, revision).await {
            sender.send(&Answer::Live).await;
        }
    }
}

/// Keeps the gate closed until the collection reports deleted files, or its node is gone.
async fn gate(mut reader: LineReader<Incoming>, sender: LineSender, service: Arc<dyn Service>) {
    let Ok(Some(files)) = reader.next::<GateRequest>().await else { return };
    let (held, is_held) = oneshot::channel();
    let (gone, is_gone) = oneshot::channel();
    let exchange = async {
        if let Ok(held) = is_held.await
            && sender.send(&Answer::Held(held)).await
            && let Ok(Some(Gone { blobs })) = reader.next::<Gone>().await
        {
            gone.send(blobs).ok();
        }
    };
    tokio::join!(service.close_gate(&files, held, is_gone), exchange);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the node would count as live, but be unreachable.
    #[test]
    fn an_address_that_another_program_has_taken_since_it_was_bound_is_an_error() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let other = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        other.set_reuse_address(true).unwrap();
        other.bind(&listener.address().into()).unwrap();
        other.listen(1).unwrap();
        assert!(matches!(listener.listen(), Err(Error::Listen { address, .. }) if address == listener.address()));
        drop(other);
        listener.listen().unwrap();
    }
}
