//! Answers other nodes: those alone that have a certificate of the cluster's CA.

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

/// Where a version is prepared.
pub(super) const PREPARE: &str = "/v1/prepare";
/// Where a collection asks which files are relied on.
pub(super) const GATE: &str = "/v1/gate";
/// Where a node reports attempts at logging in.
pub(super) const ATTEMPTS: &str = "/v1/attempts";
/// Where a node says how it is.
pub(super) const STATUS: &str = "/v1/status";

/// Most bytes of a request's header fields.
const HEADERS_BYTES_MAX: u32 = 128 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;
/// Interval of pings on a connection, and longest time without an answer: what a node holds for another one that is
/// gone is given up.
const PING: Duration = Duration::from_secs(5);

/// What a node does for others.
#[async_trait]
pub trait Service: InstanceService {
    /// Prepares a version to become live, and reports how it goes. It is ready for as long as the result lives.
    ///
    /// # Errors
    /// Why it cannot be.
    async fn prepare(&self, request: &PrepareRequest, progress: Progress<'_>) -> Result<Hold, Problem>;

    /// Waits until a version is live here that was switched to by the commit of `revision`; false if it is not within a
    /// moment.
    async fn follow(&self, placed: Placed<'_>, revision: Revision) -> bool;

    /// Reports to `held` which of these files this node relies on, and lets nobody begin to rely on any of them until
    /// `gone` says which went, or its sender is dropped.
    async fn close_gate(
        &self,
        files: &GateRequest,
        held: oneshot::Sender<GateHeld>,
        gone: oneshot::Receiver<Vec<Digest>>,
    );

    /// Says which of the lines that `request` wants there are here; and with `tail` those that come, until it is
    /// dropped.
    async fn logs(&self, request: LogsRequest, sender: LogsSender);

    /// Counts attempts at logging in that were made on another node.
    fn count_attempts(&self, notes: &[AttemptNote]);

    /// What it knows of an environment.
    async fn report_environment(&self, query: &EnvironmentQuery) -> EnvironmentReport;

    /// The state of this node, with the versions of one app, or of all.
    async fn status(&self, app: Option<&AppName>) -> NodeStatus;
}

/// What answers other nodes.
#[derive(Clone)]
pub struct Answers {
    /// What they ask of each other.
    pub service: Arc<dyn Service>,
    /// Requests of the API that another one has received.
    pub api: Arc<dyn Api>,
}

/// The socket of this node for others.
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds it. Another process of this node may have it open, too, which gets all connections until
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

    /// Where it is open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes connections from now on, which wait for [`Listener::serve`].
    ///
    /// # Errors
    /// [`Error::Listen`], in particular where another program listens at the address since it was bound.
    pub fn listen(&self) -> Result<(), Error> {
        let listening = rustix::net::listen(&self.socket, BACKLOG);
        listening.map_err(|error| Error::Listen { address: self.address, source: error.into() })
    }

    /// Answers until `stop` is cancelled; exchanges under way then go on.
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
        // As many bytes as a client of the API may send, and what the node adds that passes it on.
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

/// Counts attempts on another node; the answer ends when that is done.
async fn attempts(mut reader: LineReader<Incoming>, _until_counted: LineSender, service: Arc<dyn Service>) {
    if let Ok(Some(mut notes)) = reader.next::<Vec<AttemptNote>>().await {
        notes.truncate(ATTEMPTS_MAX);
        service.count_attempts(&notes);
    }
}

/// Answers what this node alone knows of an environment.
async fn answer_query(mut reader: LineReader<Incoming>, sender: LineSender, service: &dyn Service) {
    let Ok(Some(query)) = reader.next::<EnvironmentQuery>().await else { return };
    sender.send(&Answer::Environment(Box::new(service.report_environment(&query).await))).await;
}

/// Prepares a version, and holds it until the other node has switched to it or is gone.
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

/// Keeps the gate closed until the collection has said what went, or its node is gone.
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

    /// The node would count as alive, and nobody would reach it.
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
