//! Health of an edge whose socket in the data folder cannot be reached, for example because the disk was read-only at
//! the start: an abstract Unix socket (unix(7)), which needs no disk. Every user may connect to an abstract socket, so
//! the socket only serves the health, which the API serves without a token too, and only to root and the edge's user.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::local::ANSWER_MAX;
use super::own_socket::{LOOK_EVERY, OwnSocket};
use devanture_control::admin::{Admin, Via};
use devanture_store::catalog::{Catalog, Error};

/// The served paths.
const PATHS: [&str; 2] = ["/health/live", "/health/ready"];
/// An origin without rights unless a token is given.
const VIA: Via = Via::Network(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// Returns the address as a path whose first byte is zero. The inode identifies the folder: the path may differ for the
/// caller, for example in a container, while the inode can be read even without access to the folder.
fn address(data_dir: &Path) -> io::Result<PathBuf> {
    let found = std::fs::metadata(data_dir)?;
    Ok(format!("\0devanture-edge/{:x}/{:x}/health", found.dev(), found.ino()).into())
}

/// Listens while `socket` does not exist, as long as the edge has the catalog. Ends with the thread.
pub(super) async fn serve(socket: Arc<OwnSocket>, catalog: Arc<dyn Catalog>, admin: Arc<Admin>) {
    let folder = socket.path().parent().unwrap_or_else(|| Path::new("."));
    let Ok(address) = address(folder) else { return };
    let is_wanted = || !socket.stands() && !matches!(catalog.check_in_place(), Err(Error::HandedOver));
    loop {
        if is_wanted() {
            match UnixListener::bind(&address) {
                Ok(listener) => {
                    let until_unwanted = async {
                        while is_wanted() {
                            sleep(LOOK_EVERY).await;
                        }
                    };
                    tokio::select! {
                        () = answer(&listener, &admin) => {}
                        () = until_unwanted => {}
                    }
                }
                Err(error) => tracing::debug!(%error, "the socket of health cannot be opened"),
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Answers connections one after another, each in bounded time: the socket serves occasional checks. Never ends.
async fn answer(listener: &UnixListener, admin: &Arc<Admin>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        if !is_of(&stream, &[0, geteuid().as_raw()]) {
            continue;
        }
        let service = service_fn(|request: Request<Incoming>| async move {
            match PATHS.contains(&request.uri().path()) {
                true => Ok(admin.handle(request, VIA).await),
                // Ends the connection.
                false => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            }
        });
        let mut http1 = hyper::server::conn::http1::Builder::new();
        let connection = http1.keep_alive(false).serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = timeout(ANSWER_MAX, connection).await {
            tracing::debug!(%error, "a connection of health broke off");
        }
    }
}

/// Returns true if the peer is one of `users`.
fn is_of(stream: &UnixStream, users: &[u32]) -> bool {
    stream.peer_cred().is_ok_and(|peer| users.contains(&peer.uid()))
}

/// Connects to the health socket of the edge of `data_dir`. `None` if no edge listens, or if the listener's user is
/// neither root, nor the caller, nor the owner of the folder.
pub(super) async fn connect(data_dir: &Path) -> Option<UnixStream> {
    let owner = std::fs::metadata(data_dir).ok()?.uid();
    let stream = UnixStream::connect(address(data_dir).ok()?).await.ok()?;
    is_of(&stream, &[0, geteuid().as_raw(), owner]).then_some(stream)
}
