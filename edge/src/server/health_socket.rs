//! Where an edge says how it is while its socket in the data folder cannot be reached, as on a disk that was read-only
//! at the start: an abstract socket (unix(7)), which takes no disk. Anybody may connect to such a one, so that it gives
//! health alone, which the API gives without a token too, and that to root and the user of the edge.

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

/// What it answers.
const PATHS: [&str; 2] = ["/health/live", "/health/ready"];
/// Nothing without a token.
const VIA: Via = Via::Network(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// The address, as a path whose first byte is zero. The folder is named by its inode: its path may be another one to
/// who asks, as in a container, and that is found also where nobody may enter it.
fn address(data_dir: &Path) -> io::Result<PathBuf> {
    let found = std::fs::metadata(data_dir)?;
    Ok(format!("\0devanture-edge/{:x}/{:x}/health", found.dev(), found.ino()).into())
}

/// Listens there while `socket` does not stand, for as long as this edge has the catalog. Ends with the thread.
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

/// Answers one connection after another, each in bounded time: it is there for a check, now and then. Never ends.
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
                // Which ends the connection.
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

/// Whether the other end is of one of these users.
fn is_of(stream: &UnixStream, users: &[u32]) -> bool {
    stream.peer_cred().is_ok_and(|peer| users.contains(&peer.uid()))
}

/// Connects to the edge over `data_dir` that listens there. `None` where none does, and where the address is taken by
/// another user than root, the caller, and the owner of the folder.
pub(super) async fn connect(data_dir: &Path) -> Option<UnixStream> {
    let owner = std::fs::metadata(data_dir).ok()?.uid();
    let stream = UnixStream::connect(address(data_dir).ok()?).await.ok()?;
    is_of(&stream, &[0, geteuid().as_raw(), owner]).then_some(stream)
}
