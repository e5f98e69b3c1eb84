//! The threads: one for each core that serves visitors, one for the API, and the threads of all other work.

use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::ALT_SVC;
use http::{HeaderValue, Request};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use devanture_config::edge_toml::AddressBlock;

use super::error::StartError;
use super::handler_parts::HandlerParts;
use super::http3::ThreadQuic;
use super::local::{self, LocalSocket};
use super::sockets::Sockets;
use devanture_base::fair::Lane;
use devanture_control::admin::{Admin, Via};
use devanture_control::encode::Priority;
use devanture_control::publish::Publisher;
use devanture_http::{Answering, Inbound, stream_body};
use devanture_serve::handler::{self, EngineService};
use devanture_serve::listen::quic::{self, QuicSettings};
use devanture_serve::listen::{self, Awaited, ConnectionLimits, Drain, Drained, Peer, Protocol, Settings};
use devanture_serve::proxy::Chain;
use devanture_serve::tls::{Certificates, ServerTls};
use devanture_serve::version::CommonField;

/// Threads of the control runtime.
const CONTROL_THREADS: usize = 2;
/// Maximum number of blocking threads for disk reads and computation outside of requests: each thread retains pages of
/// memory, and a disk gains no speed from more. No such thread may wait for another one, except the threads that
/// restore damaged files, which are fewer.
const CONTROL_BLOCKING_THREADS: usize = 32;
/// Maximum number of blocking threads of each runtime, for example for disk reads.
const BLOCKING_THREADS: usize = 512;
/// Idle time after which a blocking thread ends: each thread retains pages of memory.
const IDLE_TIME: Duration = Duration::from_secs(2);

/// The services of the threads.
pub(super) struct Serving {
    pub(super) handler: HandlerParts,
    pub(super) visitors: ServerTls,
    pub(super) admin_tls: ServerTls,
    pub(super) limits: ConnectionLimits,
    pub(super) admin_limits: ConnectionLimits,
    pub(super) drain: Drain,
    pub(super) https_port: u16,
    /// The machine and the data folder, unique among nodes.
    pub(super) node: Arc<str>,
    /// The proofs over plain HTTP for an ACME authority.
    pub(super) certificates: Certificates,
    /// The publisher, whose tasks run on the thread of the API.
    pub(super) publisher: Arc<Publisher>,
    /// Maximum number of archives unpacked at once.
    pub(super) archives_max: u64,
}

/// All threads, until their drain.
#[derive(Default)]
pub(super) struct Threads {
    running: Vec<JoinHandle<usize>>,
    /// The threads without HTTP/3.
    without_http3: Vec<oneshot::Sender<ThreadQuic>>,
}

impl Threads {
    pub(super) fn start(
        sockets: Sockets,
        serving: Serving,
        admin: Arc<Admin>,
        local: LocalSocket,
    ) -> Result<Self, StartError> {
        let Sockets { https, http, http3, admin: admin_socket, .. } = sockets;
        let mut threads = Vec::with_capacity(https.len() + 1);
        let settings = |name, tls, limits: &ConnectionLimits| Settings {
            name,
            tls,
            limits: limits.clone(),
            drain: serving.drain.clone(),
        };
        let mut http = http.map(|socket| (socket, settings("http", None, &serving.limits)));
        let (mut http3, mut without_http3) = (http3.into_iter(), Vec::new());
        for (number, socket) in https.into_iter().enumerate() {
            let visitors = settings("https", Some(serving.visitors.clone()), &serving.limits);
            let (parts, port) = (serving.handler.clone(), serving.https_port);
            let plain = http.take().map(|(socket, settings)| (socket, settings, serving.certificates.clone()));
            let (sender, comes) = oneshot::channel();
            match http3.next() {
                Some(quic) => drop(sender.send(ThreadQuic { quic, alt_svc: None })),
                None => without_http3.push(sender),
            }
            let quic = QuicParts {
                comes,
                tls: serving.visitors.clone(),
                limits: serving.limits.clone(),
                drain: serving.drain.clone(),
                node: Arc::clone(&serving.node),
            };
            let serve = move || serve((socket, visitors), plain, quic, parts, port);
            threads.push(spawn(&format!("serve-{number}"), BLOCKING_THREADS, true, serve)?);
        }
        let settings = settings("admin", Some(serving.admin_tls.clone()), &serving.admin_limits);
        // A streamed archive occupies a thread from its first byte to its last, however slow the upload.
        let archives_max = usize::try_from(serving.archives_max).unwrap_or(usize::MAX);
        let blocking = BLOCKING_THREADS.saturating_add(archives_max);
        let (publisher, trusted_proxies) = (serving.publisher, serving.handler.trusted_proxies);
        let serve = move || serve_admin(admin_socket, settings, admin, publisher, local, trusted_proxies);
        threads.push(spawn("admin", blocking, false, serve)?);
        Ok(Self { running: threads, without_http3 })
    }

    /// Takes the senders of sockets for threads without HTTP/3.
    pub(super) fn take_without_http3(&mut self) -> Vec<oneshot::Sender<ThreadQuic>> {
        std::mem::take(&mut self.without_http3)
    }

    /// Waits for the drain of every thread. Returns the number of connections cut.
    pub(super) fn join(self) -> usize {
        let cut = self.running.into_iter().map(|thread| thread.join().unwrap_or_default());
        cut.sum()
    }
}

/// Creates the runtime for all work outside of requests. Its threads keep the process's priority: instances wait for
/// the threads that log their output, and inherit the priority of the thread that starts the spawner.
pub(super) fn control_runtime() -> Result<Runtime, StartError> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(CONTROL_THREADS).max_blocking_threads(CONTROL_BLOCKING_THREADS).thread_keep_alive(IDLE_TIME);
    builder.thread_name("control").enable_all().build().map_err(StartError::Runtime)
}

/// Starts a thread with its own runtime. If the thread does not serve visitors, its blocking threads have
/// [`Priority::Work`].
fn spawn<F>(name: &str, blocking: usize, serves: bool, work: F) -> Result<JoinHandle<usize>, StartError>
where
    F: FnOnce() -> std::pin::Pin<Box<dyn Future<Output = usize>>> + Send + 'static,
{
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(blocking).thread_keep_alive(IDLE_TIME).enable_all();
    if !serves {
        builder.thread_name(format!("{name}-work")).on_thread_start(|| Priority::Work.lower());
    }
    let runtime: Runtime = builder.build().map_err(StartError::Runtime)?;
    let run = move || {
        let cut = LocalSet::new().block_on(&runtime, async { work().await });
        // Abandoned disk reads must not delay the end.
        runtime.shutdown_background();
        cut
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Runtime)
}

type Work = std::pin::Pin<Box<dyn Future<Output = usize>>>;

/// The parts for HTTP/3 on a thread, once the thread has a socket.
struct QuicParts {
    comes: oneshot::Receiver<ThreadQuic>,
    tls: ServerTls,
    limits: ConnectionLimits,
    drain: Drain,
    node: Arc<str>,
}

impl QuicParts {
    /// Waits for the socket, which may come with `Alt-Svc`; `None` if the drain begins first.
    async fn come(self) -> Option<(UdpSocket, QuicSettings, Option<HeaderValue>)> {
        let Self { comes, tls, limits, mut drain, node } = self;
        let ThreadQuic { quic, alt_svc } = tokio::select! {
            biased;
            come = comes => come.ok()?,
            () = async { drop(drain.wait_for(Option::is_some).await) } => return None,
        };
        let settings = QuicSettings {
            name: "https",
            tls,
            limits,
            drain,
            place: quic.place,
            node,
            predecessor: quic.predecessor,
            successors: quic.successors,
        };
        Some((quic.socket, settings, alt_svc))
    }
}

fn serve(
    (socket, visitors): (TcpListener, Settings),
    plain: Option<(TcpListener, Settings, Certificates)>,
    quic: QuicParts,
    parts: HandlerParts,
    https_port: u16,
) -> Work {
    Box::pin(async move {
        let handler = Rc::new(parts.handler());
        let live = handler.live.clone();
        let plain = plain.map(|(socket, settings, certificates)| {
            let certificates = Rc::new(certificates);
            let answer = move |request: Request<Inbound>| -> Answering {
                let (live, certificates) = (live.clone(), Rc::clone(&certificates));
                Box::pin(async move {
                    let proof = async |host: &str, path: &str| certificates.http_proof(host, path).await;
                    handler::to_https(&request, &live, https_port, proof).await.map(stream_body)
                })
            };
            let services = move |_peer: &Arc<Peer>| (Awaited(answer.clone()), Lane::EDGE);
            tokio::task::spawn_local(listen::serve(socket, settings, services))
        });
        let tls = Rc::new(visitors.tls.clone());
        let services = Rc::new({
            let (handler, live) = (Rc::clone(&handler), handler.live.clone());
            move |peer: &Arc<Peer>| {
                let (tls, sni) = (Rc::clone(&tls), peer.sni.clone());
                let covers = move |host: &str| covers(&tls, sni.as_deref(), host);
                let service = EngineService::new(Rc::clone(&handler), peer.address.ip(), covers);
                let service = if peer.protocol == Protocol::Http1 { service.with_interim() } else { service };
                (service, peer.sni.as_deref().map_or(Lane::EDGE, |host| live.lane_of(host)))
            }
        });
        let quic = tokio::task::spawn_local({
            let services = Rc::clone(&services);
            async move {
                let Some((socket, settings, alt_svc)) = quic.come().await else { return Ok(Drained { cut: 0 }) };
                if let Some(value) = alt_svc {
                    drop(handler.alt_svc.set(CommonField::new(ALT_SVC, value)));
                }
                quic::serve(socket, settings, move |peer: &Arc<Peer>| services(peer)).await
            }
        });
        let mut cut = cut(listen::serve(socket, visitors, move |peer: &Arc<Peer>| services(peer)).await);
        for beside in plain.into_iter().chain([quic]) {
            cut += beside.await.map_or(0, self::cut);
        }
        cut
    })
}

/// Returns true if the certificate of a connection for the host `sni` is valid for `host` too.
fn covers(tls: &Option<ServerTls>, sni: Option<&str>, host: &str) -> bool {
    tls.as_ref().is_none_or(|tls| tls.covers(sni, host))
}

fn serve_admin(
    socket: TcpListener,
    settings: Settings,
    admin: Arc<Admin>,
    publisher: Arc<Publisher>,
    local: LocalSocket,
    trusted_proxies: Arc<ArcSwap<Vec<AddressBlock>>>,
) -> Work {
    Box::pin(async move {
        let mut drain = settings.drain.clone();
        let catalog = Arc::clone(&publisher.ledger().catalog);
        tokio::task::spawn_local(local::serve(local, catalog, Arc::clone(&admin)));
        let services = move |peer: &Arc<Peer>| {
            let (admin, trusted_proxies, peer) = (Arc::clone(&admin), Arc::clone(&trusted_proxies), peer.address.ip());
            let answer = move |request: Request<Inbound>| -> Answering {
                let admin = Arc::clone(&admin);
                let from = Chain::of(request.headers(), peer, &trusted_proxies.load());
                Box::pin(async move { admin.handle(request, Via::Network(from.client)).await.map(stream_body) })
            };
            (Awaited(answer), Lane::EDGE)
        };
        let cut = cut(listen::serve(socket, settings, services).await);
        // What was accepted ends with this thread: nobody may wait for it any more, but a client knows of it.
        let is_ordered = drain.borrow().is_some();
        if is_ordered {
            publisher.ended(listen::drain_time(&mut drain, |order| order.deploys)).await;
        }
        cut
    })
}

fn cut(drained: std::io::Result<Drained>) -> usize {
    match drained {
        Ok(drained) => drained.cut,
        Err(error) => {
            tracing::error!(%error, "a listener ended");
            0
        }
    }
}
