//! Resumed sessions: on another thread, and with the keys of a file.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls::HandshakeKind;

use super::*;
use crate::listen::{Awaited, bind_all};
use crate::tls::Error;
use devanture_http::{Answering, Inbound, stream_body};

const THREADS: usize = 4;
/// The system chooses the thread of a connection by the port: with `TRIES` attempts, a miss of one of four threads is
/// practically impossible.
const TRIES: usize = 400;

/// Sends a request on a new connection; returns the handshake kind and the response.
async fn ask(address: SocketAddr, config: &Arc<ClientConfig>) -> (HandshakeKind, String) {
    let stream = connect(address, config, "localhost").await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    // The ticket arrives after the handshake, with the first response.
    (kind, text(http1_over(stream).await.send_request(get("/")).await.unwrap()).await)
}

/// Runs a future on the current thread, as a serving thread does.
fn once<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

#[test]
fn a_session_is_resumed_on_every_thread() {
    let folder = tempfile::tempdir().unwrap();
    let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
    let listeners = bind_all("127.0.0.1:0".parse().unwrap(), THREADS).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let (drain, drain_requested) = watch::channel(None);
    let serving = listeners.into_iter().enumerate().map(|(number, listener)| {
        let limits = ConnectionLimits::new(&Limits::default());
        let settings = Settings { name: "test", tls: Some(tls.clone()), limits, drain: drain_requested.clone() };
        let answer = move |_request: Request<Inbound>| -> Answering {
            Box::pin(async move { Response::new(stream_body(full(number.to_string()))) })
        };
        let services = move |_peer: &Arc<Peer>| (Awaited(answer), Lane::EDGE);
        std::thread::spawn(move || once(async { serve(listener, settings, services).await.map(drop) }))
    });
    let serving: Vec<_> = serving.collect();
    once(async {
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let (kind, first) = ask(address, &config).await;
        assert_eq!(kind, HandshakeKind::Full);
        let mut threads = BTreeSet::from([first]);
        for _ in 0..TRIES {
            let (kind, thread) = ask(address, &config).await;
            assert_eq!(kind, HandshakeKind::Resumed, "on thread {thread} after {threads:?}");
            threads.insert(thread);
            if threads.len() == THREADS {
                break;
            }
        }
        assert_eq!(threads.len(), THREADS);
    });
    drain.send_replace(Some(DrainOrder::until(Instant::now() + PATIENCE)));
    for thread in serving {
        thread.join().unwrap().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the file of an operator, not of the edge")]
fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn keys_in_a_file_are_read_again_and_stay_where_the_file_is_not_good() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("tickets.key");
        let (old, new) = ("ab".repeat(32), "cd".repeat(32));
        write(&keys, &old, 0o600);
        let certificates = self_signed(folder.path(), &["shop.localhost"]).with_ticket_keys(&keys).unwrap();
        let running = Running::start(Some(certificates.server_config()), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let kind = async || ask(running.address, &config).await.0;
        assert_eq!(kind().await, HandshakeKind::Full);
        assert_eq!(kind().await, HandshakeKind::Resumed);
        // A new key in front: tickets sealed by the old key are still valid.
        write(&keys, &format!("{new}\n{old}\n"), 0o600);
        certificates.reload().unwrap();
        assert_eq!(kind().await, HandshakeKind::Resumed);
        write(&keys, &new, 0o600);
        certificates.reload().unwrap();
        assert_eq!(kind().await, HandshakeKind::Resumed);
        for (text, mode) in [("nonsense", 0o600), ("", 0o600), (old.as_str(), 0o644), (old.as_str(), 0o620)] {
            write(&keys, text, mode);
            assert!(matches!(certificates.reload().unwrap_err(), Error::TicketKeys { .. }), "{text:?} {mode:o}");
            assert!(matches!(Certificates::check_ticket_keys(&keys).unwrap_err(), Error::TicketKeys { .. }));
            assert_eq!(kind().await, HandshakeKind::Resumed);
        }
        std::fs::remove_file(&keys).unwrap();
        assert!(matches!(certificates.reload().unwrap_err(), Error::Read { .. }));
        assert_eq!(kind().await, HandshakeKind::Resumed);
        // A repaired file counts without a manual reload; the group may read the file.
        let watch = spawn_local(certificates.clone().watch_files());
        write(&keys, &"ef".repeat(32), 0o640);
        let end = Instant::now() + PATIENCE;
        while kind().await == HandshakeKind::Resumed {
            assert!(Instant::now() < end, "the change was not noticed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        watch.abort();
    });
}

#[test]
fn a_session_of_visitors_is_nothing_to_the_admin_listener() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("tickets.key");
        write(&keys, &"ab".repeat(32), 0o600);
        let certificates = self_signed(folder.path(), &["shop.localhost"]).with_ticket_keys(&keys).unwrap();
        let visitors = Running::start(Some(certificates.server_config()), &Limits::default());
        let admin = Running::start(Some(certificates.admin_server_config()), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        assert_eq!(ask(visitors.address, &config).await.0, HandshakeKind::Full);
        assert_eq!(ask(admin.address, &config).await.0, HandshakeKind::Full);
        assert_eq!(ask(admin.address, &config).await.0, HandshakeKind::Resumed);
    });
}
