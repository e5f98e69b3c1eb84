//! Installs the console, at the start of the edge and for `devanture-edge console`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::ConsoleStatus;
use devanture_config::edge_toml::{Console, EdgeFile};
use devanture_config::problem::{Code, Problem};
use http::Method;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::data_socket;
use super::error::StartError;
use super::local::{LocalError, NOTHING, SOCKET_NAME, ask, read, send};
use super::stores::data_dir;
use devanture_base::durable;
use devanture_control::ledger::{Actor, Error};
use devanture_control::publish::{CONSOLE_PACKAGE_BYTES_MAX, Publisher, check_console_package};

/// The path of the bundled package, relative to the parent of the program's folder.
const SHIPPED: &str = "share/devanture/console.tar.gz";
/// The file in the data folder that the next start installs and removes.
const WAITING: &str = "console-to-install";
/// Readable only for the owner.
const MODE: u32 = 0o600;
/// Pause after a failed installation for a temporary reason.
const AGAIN: Duration = Duration::from_secs(10);

/// Error of an installation.
struct Failed {
    reason: String,
    /// True for a temporary reason, such as an unreachable store, rather than a fault of the package.
    passes: bool,
}

impl Failed {
    fn of(error: &Error) -> Self {
        Self { reason: error.to_string(), passes: passes(error) }
    }
}

/// Returns true for a temporary reason; `storage_full` counts as a fault, because the package is too large.
fn passes(error: &Error) -> bool {
    error.0.status >= 500 && error.0.code != Code::StorageFull
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self { reason, passes: false }
    }
}

/// Checks that the configured package exists.
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    match &file.console {
        Console::File(path) => bytes_of(&base.join(path)).map(drop).map_err(|reason| StartError::Console { reason }),
        Console::Off | Console::Package => Ok(()),
    }
}

/// Serves the stored console, and installs the waiting package, or the configured package if different. The edge does
/// not wait for the installation, and serves without a console meanwhile.
pub(super) fn start((file, base): (&EdgeFile, &Path), data_dir: &Path, control: &Runtime, publisher: &Arc<Publisher>) {
    let waiting = data_dir.join(WAITING);
    let package = match &file.console {
        Console::Off => {
            // After a later reactivation, the waiting package would replace a newer installation.
            if durable::remove_file(&waiting).unwrap_or(false) {
                tracing::warn!("the console that waited is dropped: `console` in edge.toml is \"off\"");
            }
            return;
        }
        Console::File(path) => Some(base.join(path)),
        Console::Package => shipped(),
    };
    control.spawn(Arc::clone(publisher.console()).follow());
    let publisher = Arc::clone(publisher);
    control.spawn(until_settled(async move || install_at_start(&publisher, &waiting, package.as_deref()).await));
}

/// Repeats the installation until success or a fault of the package.
async fn until_settled(mut install: impl AsyncFnMut() -> Result<(), Failed>) {
    while let Err(Failed { reason, passes }) = install().await {
        tracing::error!(reason, tried_again = passes, "the console could not be installed");
        if !passes {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// Returns the bundled package, if present.
fn shipped() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.parent()?.join(SHIPPED)).filter(|package| package.is_file())
}

async fn install_at_start(publisher: &Publisher, waiting: &Path, package: Option<&Path>) -> Result<(), Failed> {
    let local = Actor::local();
    if waiting.is_file() {
        match install_waiting(publisher, waiting).await {
            Ok(()) => return Ok(()),
            Err(failed) if failed.passes => return Err(failed),
            // The configured package is installed nevertheless.
            Err(Failed { reason, .. }) => tracing::error!(reason, "the console that waited could not be installed"),
        }
    }
    let Some(package) = package else { return Ok(()) };
    let installed = publisher.install_console_once(&local, bytes_of(package)?).await;
    installed.or_else(unless_restarting).map_err(|failed| {
        let reason = format!("{}: {}", package.display(), failed.reason);
        Failed { reason, ..failed }
    })
}

/// Installs the waiting package, and removes the file. If a store cannot be reached, or the edge is about to end, the
/// file stays.
async fn install_waiting(publisher: &Publisher, waiting: &Path) -> Result<(), Failed> {
    let installed = publisher.install_console(&Actor::local(), bytes_of(waiting)?).await;
    match installed {
        Err(error) if passes(&error) => unless_restarting(error),
        installed => {
            let removed = durable::remove_file(waiting);
            installed.map_err(|error| Failed::of(&error))?;
            removed.map(drop).map_err(|error| error.to_string().into())
        }
    }
}

/// Ignores an error of an ending edge, whose successor installs the package.
fn unless_restarting(error: Error) -> Result<(), Failed> {
    if error.0.code == Code::Restarting { Ok(()) } else { Err(Failed::of(&error)) }
}

/// Returns the bytes of a package, or the reason of the failure.
fn bytes_of(path: &Path) -> Result<Bytes, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > CONSOLE_PACKAGE_BYTES_MAX {
        return Err(format!("{} has more than {CONSOLE_PACKAGE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read(path).map(Bytes::from).map_err(unreadable)
}

/// Installs a package through the running edge, or at the next start if none runs; `None` then.
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
    if data_socket::connect(&socket).await.is_ok() {
        let answer = send(&socket, Method::PUT, "/v1/console", Some(("application/gzip", bytes))).await?;
        return read(&answer).map(Some);
    }
    if file.console == Console::Off {
        let problem =
            Problem::new(Code::BadRequest, "`console` in edge.toml is \"off\", so that no start installs one.");
        return Err(Error::from(problem.hint("set `console = \"package\"`, or leave the key out")).into());
    }
    check_console_package(bytes.clone()).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_a_while_is_tried_again_and_a_bad_package_is_not() {
        let failed = |passes| Err(Failed { reason: String::new(), passes });
        for (mut outcomes, expected) in [
            (vec![Ok(()), failed(true), failed(true)], 3),
            (vec![failed(false), failed(true)], 2),
            (vec![failed(true), failed(false)], 1),
        ] {
            let (began, mut tries) = (Instant::now(), 0);
            until_settled(async || {
                tries += 1;
                outcomes.pop().unwrap()
            })
            .await;
            assert_eq!((tries, began.elapsed()), (expected, AGAIN * (expected - 1)));
        }
    }

    #[test]
    fn what_a_store_lacks_passes_and_what_a_package_lacks_does_not() {
        let passes = |code| Failed::of(&Problem::new(code, "x").into()).passes;
        assert!(passes(Code::CatalogUnavailable) && passes(Code::DiskFull) && passes(Code::Internal));
        assert!(!passes(Code::BadArchive) && !passes(Code::StorageFull));
        assert!(unless_restarting(Problem::new(Code::Restarting, "x").into()).is_ok());
    }
}
