//! Installs the console: when the edge starts, and for `devanture-edge console`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::ConsoleStatus;
use devanture_config::edge_toml::{Console, EdgeFile};
use devanture_config::problem::{Code, Problem};
use http::Method;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::error::StartError;
use super::local::{LocalError, NOTHING, SOCKET_NAME, ask, read, send};
use super::stores::data_dir;
use crate::blobs::durable;
use crate::ledger::{Actor, Error};
use crate::publish::{CONSOLE_PACKAGE_BYTES_MAX, Publisher};

/// The path of the package that came with the program, from the folder above the program's own.
const SHIPPED: &str = "share/devanture/console.tar.gz";
/// The file in the data folder that the next start installs, and removes.
const WAITING: &str = "console-to-install";
/// For the owner alone.
const MODE: u32 = 0o600;

/// Checks that the package that `edge.toml` names is there.
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    match &file.console {
        Console::File(path) => bytes_of(&base.join(path)).map(drop).map_err(|reason| StartError::Console { reason }),
        Console::Off | Console::Package => Ok(()),
    }
}

/// Serves the console that is stored, and installs what waits, or the package, if that is another one. The edge does not
/// wait for it, and serves without.
pub(super) fn start((file, base): (&EdgeFile, &Path), data_dir: &Path, control: &Runtime, publisher: &Arc<Publisher>) {
    let package = match &file.console {
        Console::Off => return,
        Console::File(path) => Some(base.join(path)),
        Console::Package => shipped(),
    };
    control.spawn(Arc::clone(publisher.console()).follow());
    let (publisher, waiting) = (Arc::clone(publisher), data_dir.join(WAITING));
    control.spawn(async move {
        if let Err(reason) = install_at_start(&publisher, &waiting, package.as_deref()).await {
            tracing::error!(reason, "the console could not be installed");
        }
    });
}

/// The package that came with the program, if one did.
fn shipped() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.parent()?.join(SHIPPED)).filter(|package| package.is_file())
}

async fn install_at_start(publisher: &Publisher, waiting: &Path, package: Option<&Path>) -> Result<(), String> {
    let local = Actor::local();
    if waiting.is_file() {
        match install_waiting(publisher, waiting).await {
            Ok(()) => return Ok(()),
            // The package is there all the same.
            Err(reason) => tracing::error!(reason, "the console that waited could not be installed"),
        }
    }
    let Some(package) = package else { return Ok(()) };
    let installed = publisher.install_console_once(&local, bytes_of(package)?).await;
    installed.map_err(|error| format!("{}: {error}", package.display()))
}

/// Installs what waits, and removes it. Where the edge is about to end, it waits on.
async fn install_waiting(publisher: &Publisher, waiting: &Path) -> Result<(), String> {
    let installed = publisher.install_console(&Actor::local(), bytes_of(waiting)?).await;
    // One that cannot be installed now never can, unless the edge was about to end.
    if installed.as_ref().is_err_and(|error| error.0.code == Code::Restarting) {
        return Ok(());
    }
    let removed = durable::remove_file(waiting);
    installed.map_err(|error| error.to_string())?;
    removed.map(drop).map_err(|error| error.to_string())
}

/// The bytes of a package, or why there are none.
fn bytes_of(path: &Path) -> Result<Bytes, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > CONSOLE_PACKAGE_BYTES_MAX {
        return Err(format!("{} has more than {CONSOLE_PACKAGE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read(path).map(Bytes::from).map_err(unreadable)
}

/// Installs a package: by the running edge, or at the next start if none runs; `None` then.
///
/// # Errors
/// [`LocalError`].
pub async fn install_console(
    file: &EdgeFile,
    base: &Path,
    package: &Path,
) -> Result<Option<ConsoleStatus>, LocalError> {
    let bytes = bytes_of(package).map_err(|reason| Error::from(Problem::new(Code::BadArchive, reason)))?;
    let data_dir = data_dir(file, base);
    let socket = data_dir.join(SOCKET_NAME);
    if UnixStream::connect(&socket).await.is_ok() {
        let answer = send(&socket, Method::PUT, "/v1/console", Some(("application/gzip", bytes))).await?;
        return read(&answer).map(Some);
    }
    durable::make_for_owner_of(&data_dir);
    durable::make_folder(&data_dir).map_err(StartError::from)?;
    durable::write_file(&data_dir.join(WAITING), &bytes, MODE).map_err(StartError::from)?;
    Ok(None)
}

/// Removes the console of the running edge.
///
/// # Errors
/// [`LocalError`].
pub async fn remove_console(file: &EdgeFile, base: &Path) -> Result<ConsoleStatus, LocalError> {
    let socket = data_dir(file, base).join(SOCKET_NAME);
    read(&ask(&socket, Method::DELETE, "/v1/console", NOTHING).await?)
}

/// Shows the console of the running edge.
///
/// # Errors
/// [`LocalError`].
pub async fn show_console(file: &EdgeFile, base: &Path) -> Result<ConsoleStatus, LocalError> {
    let socket = data_dir(file, base).join(SOCKET_NAME);
    read(&ask(&socket, Method::GET, "/v1/console", NOTHING).await?)
}
