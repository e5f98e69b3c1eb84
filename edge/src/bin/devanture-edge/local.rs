//! `devanture-edge local`: the edge of `devanture dev`, as a child process. The edge ends with its standard input,
//! which the system closes even if the parent is killed.

use std::io;
use std::path::Path;

use devanture_config::api::{Scope, Secret, TokenRequest};
use devanture_config::local_edge::{LocalEdge, StartFailure};
use devanture_edge::server::{Local, LocalError, Server, StartError, confine_authority};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::terminal::print_line;
use crate::{Configuration, Failure, Signals, read, runtime};

/// The name of a run's token.
const TOKEN_NAME: &str = "dev";

/// Serves until the standard input ends, then drains. Prints one line, [`LocalEdge`], after the start or its failure;
/// the edge's own log is silent, and the access log follows the configuration.
pub(crate) fn serve(config: &Path) -> Result<(), Failure> {
    let runtime = runtime()?;
    // Before the parent learns that the edge is ready, so that an early signal drains the edge, too.
    let signals = runtime.block_on(async { Signals::new() }).map_err(StartError::Runtime)?;
    let input_ended = watch_input().map_err(StartError::Runtime)?;
    match start(&runtime, config) {
        Ok((server, token)) => {
            let addresses = server.addresses();
            report(&LocalEdge::Ready { https: addresses.https, admin: addresses.admin, token });
            runtime.block_on(until_end(signals, input_ended));
            server.drain();
            Ok(())
        }
        Err(error) => {
            report(&LocalEdge::Failed { cause: cause_of(&error), message: error.to_string() });
            Err(Failure { message: String::new(), ..error.into() })
        }
    }
}

/// Starts the server, with a token created in the catalog before the server opens the catalog.
fn start(runtime: &Runtime, config: &Path) -> Result<(Server, Secret), LocalError> {
    let Configuration { file, base, .. } = read(config)?;
    let request = TokenRequest {
        name: TOKEN_NAME.to_owned(),
        app: None,
        environment: None,
        scope: Scope::Admin,
        expires_in_s: None,
    };
    let made = runtime.block_on(async { Local::open(&file, &base).await?.create_token(request).await })?;
    // A person's browser trusts the authority for years: a stolen key must not work for other sites.
    confine_authority(&file, &base)?;
    Ok((Server::start(&file, &base)?, Secret::new(made.token)))
}

fn report(line: &LocalEdge) {
    // Addresses, words and strings can always be serialized to JSON.
    if let Ok(line) = serde_json::to_string(line) {
        print_line(&line);
    }
}

fn cause_of(error: &LocalError) -> StartFailure {
    match error {
        LocalError::Start(StartError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
            StartFailure::AddressInUse
        }
        LocalError::Start(StartError::Bind { .. }) => StartFailure::Address,
        LocalError::Start(StartError::Certificates(_)) => StartFailure::Certificates,
        _ => StartFailure::Other,
    }
}

/// Reads the standard input to its end, on a separate thread, because the read cannot be cancelled.
fn watch_input() -> io::Result<oneshot::Receiver<()>> {
    let (ended, receiver) = oneshot::channel();
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        // An input that fails has ended, too.
        io::copy(&mut io::stdin().lock(), &mut io::sink()).ok();
        ended.send(()).ok();
    })?;
    Ok(receiver)
}

/// Waits for the end of the parent, or for SIGTERM. A terminal sends its interrupt and hang-up to every process of its
/// group: the parent handles both, and ends the edge after the pages' streams.
async fn until_end(mut signals: Signals, mut input_ended: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = &mut input_ended => return,
            _ = signals.interrupt.recv() => {}
            _ = signals.hangup.recv() => {}
        }
    }
}
