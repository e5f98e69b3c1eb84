//! Serves until a signal or a successor ends the edge, and handles other signals meanwhile.

use std::path::Path;

use devanture_base::telemetry;
use devanture_config::edge_toml::EdgeFile;
use devanture_config::edge_toml::changed_keys;
use devanture_edge::server::{Server, StartError, is_applied_at_reload};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::terminal::print_line;
use crate::{Configuration, Failure, read, runtime};

/// Serves until SIGTERM or SIGINT, or until a successor serves, then drains; further signals shorten the drain.
pub(crate) fn serve(configuration: Configuration, path: &Path) -> Result<(), Failure> {
    telemetry::init_log();
    let runtime = runtime()?;
    // Before the edge reports that it is ready, so that an early signal drains the edge, too.
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(StartError::Runtime)?;
    let Some(server) = runtime.block_on(start(&mut signals, &configuration.file, &configuration.base))? else {
        tracing::info!("ended before it served");
        return Ok(());
    };
    let addresses = server.addresses();
    let ready = serde_json::json!({
        "ready": true,
        "https": addresses.https.to_string(),
        "http": addresses.http.map(|http| http.to_string()),
        "http3": addresses.http3.map(|http3| http3.to_string()),
        "admin": addresses.admin.to_string(),
    });
    print_line(&ready.to_string());
    // Another process may have been the service's main process until now.
    notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    let mut texts = Texts { started: configuration.text.clone(), applied: configuration.text };
    let is_stopped = runtime.block_on(signals.until_shutdown(&server, path, &mut texts));
    tracing::info!("draining");
    let has_successor = server.has_successor();
    if !has_successor {
        notify(&[NotifyState::Stopping]);
    }
    let cut = runtime.block_on(drain(&mut signals, server, is_stopped, has_successor))?;
    tracing::info!(cut, "ended");
    Ok(())
}

/// Drains on a separate thread, and handles signals meanwhile: with a successor, the first signal switches to a drain
/// without a successor; the next signal ends the drain. Returns the number of connections cut.
async fn drain(
    signals: &mut Signals,
    server: Server,
    is_stopped: bool,
    has_successor: bool,
) -> Result<usize, StartError> {
    let haste = server.drain_haste();
    let mut is_hurried = is_stopped || !has_successor;
    if is_stopped {
        haste.shorten();
    }
    let (sender, mut drained) = tokio::sync::oneshot::channel();
    let drain = move || sender.send(server.drain()).ok();
    std::thread::Builder::new().name("drain".to_owned()).spawn(drain).map_err(StartError::Runtime)?;
    loop {
        tokio::select! {
            cut = &mut drained => return cut.map_err(|error| StartError::Runtime(std::io::Error::other(error))),
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
        }
        if is_hurried {
            haste.end_at_once();
        } else {
            haste.shorten();
        }
        is_hurried = true;
    }
}

/// Notifies the service manager that started the process, if any.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be notified");
    }
}

/// Starts the edge on a separate thread; `None` if a signal arrives before the edge serves. No request was answered
/// then, and the writes of a start may be interrupted at any point.
async fn start(signals: &mut Signals, file: &EdgeFile, base: &Path) -> Result<Option<Server>, StartError> {
    let (sender, started) = tokio::sync::oneshot::channel();
    let (file, base) = (file.clone(), base.to_owned());
    let start = move || drop(sender.send(Server::start(&file, &base)));
    std::thread::Builder::new().name("start".to_owned()).spawn(start).map_err(StartError::Runtime)?;
    tokio::select! {
        started = started => {
            let panicked = |error| StartError::Runtime(std::io::Error::other(error));
            started.map_err(panicked)?.map(Some)
        }
        _ = signals.terminate.recv() => Ok(None),
        _ = signals.interrupt.recv() => Ok(None),
    }
}

/// The signals that the edge handles.
pub(crate) struct Signals {
    pub(crate) terminate: Signal,
    pub(crate) interrupt: Signal,
    pub(crate) hangup: Signal,
    upgrade: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the shutdown; returns true if a signal, and not a successor, is the cause.
    async fn until_shutdown(&mut self, server: &Server, path: &Path, texts: &mut Texts) -> bool {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return true,
                _ = self.interrupt.recv() => return true,
                () = server.replaced() => return false,
                _ = self.hangup.recv() => reload(server, path, texts),
                _ = self.upgrade.recv() => upgrade(),
            }
        }
    }
}

/// Starts the program now found under the name of the running program; the new edge takes over once it serves.
fn upgrade() {
    let mut arguments = std::env::args_os();
    let Some(program) = arguments.next() else { return };
    match std::process::Command::new(&program).args(arguments).stdin(std::process::Stdio::null()).spawn() {
        Ok(mut child) => {
            tracing::info!(program = %program.display(), pid = child.id(), "a new edge was started");
            // The child outlives the process, unless the child fails.
            std::thread::spawn(move || match child.wait() {
                Ok(status) => tracing::error!(%status, "the new edge ended; its own log says why"),
                Err(error) => tracing::error!(%error, "the new edge cannot be waited for"),
            });
        }
        Err(error) => {
            tracing::error!(program = %program.display(), %error, "a new edge could not be started; this one goes on");
        }
    }
}

/// The configuration texts of the start, and of the last reload.
struct Texts {
    started: String,
    applied: String,
}

/// Applies the changed keys that can change at run time, and logs the applied keys and the keys that require a restart.
fn reload(server: &Server, path: &Path, texts: &mut Texts) {
    // Despite any other error: after a rotation, the old log file must be released.
    server.reopen_access_log();
    let Configuration { file, text, .. } = match read(path) {
        Ok(configuration) => configuration,
        Err(error) => {
            tracing::error!(%error, "the configuration has mistakes: nothing was changed");
            return;
        }
    };
    let mut applied = changed_keys(&texts.applied, &text);
    applied.retain(|key| is_applied_at_reload(key));
    let mut waiting = changed_keys(&texts.started, &text);
    waiting.retain(|key| !is_applied_at_reload(key));
    texts.applied = text;
    let (applied, waiting) = (applied.join(", "), waiting.join(", "));
    let faults = server.reload(&file);
    for error in &faults {
        tracing::error!(%error, applied, "certificates stay as they were");
    }
    if faults.is_empty() {
        tracing::info!(applied, "the certificates and the configuration were read again");
    }
    if !waiting.is_empty() {
        tracing::warn!(
            waiting,
            "these keys of the configuration wait for a restart, which SIGUSR2 makes without a gap"
        );
    }
}
