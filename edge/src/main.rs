//! `devanture-edge`: the server's command line.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use devanture_config::api::{Scope, TokenRequest};
use devanture_config::edge_toml::EdgeFile;
use devanture_config::{AppName, PlaceName};
use devanture_edge::server::{self, Server, StartError};
use devanture_edge::telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves front-ends: stores bundles, gives each a preview, switches between versions in one moment.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  devanture-edge --config edge.toml            run in the foreground
  devanture-edge check --config edge.toml      say every mistake of the file
  devanture-edge token create --config edge.toml --name ci --app shop --scope push"
)]
struct Arguments {
    /// The configuration
    #[arg(long, global = true, default_value = "edge.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say every mistake of the configuration, and start nothing
    Check,
    /// Make tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it, alone, on the standard output; it is never shown again
    Create {
        /// What the history calls it
        #[arg(long)]
        name: String,
        /// For this app alone
        #[arg(long)]
        app: Option<AppName>,
        /// For this environment alone
        #[arg(long, value_name = "ENVIRONMENT")]
        env: Option<PlaceName>,
        /// What it may do: read, push, promote or admin, each holding those before it
        #[arg(long)]
        scope: Scope,
        /// How many days it lives; for ever where nothing is said
        #[arg(long, value_name = "DAYS")]
        expires_days: Option<u32>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            say(&message);
            ExitCode::from(code)
        }
    }
}

/// What went wrong, as a sentence, and the code to exit with.
struct Failure {
    message: String,
    code: u8,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self { message: error.to_string(), code: error.exit_code() }
    }
}

impl Failure {
    fn refused(error: &impl Display) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let (file, base) = read(&arguments.config)?;
    match arguments.command {
        None => serve(&file, &base, &arguments.config),
        Some(Command::Check) => check(&file, &base, &arguments.config),
        Some(Command::Token(TokenCommand::Create { name, app, env, scope, expires_days })) => {
            let expires_in_s = expires_days.map(|days| u64::from(days) * 86_400);
            create_token(&file, &base, TokenRequest { name, app, environment: env, scope, expires_in_s })
        }
    }
}

/// Reads the configuration; paths in it are relative to its folder.
fn read(path: &Path) -> Result<(EdgeFile, PathBuf), StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StartError::ConfigFile { path: path.display().to_string(), source })?;
    let file = EdgeFile::parse(&path.display().to_string(), &text)?;
    let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Ok((file, base.to_owned()))
}

fn check(file: &EdgeFile, base: &Path, path: &Path) -> Result<(), Failure> {
    let faults = server::check(file, base);
    if let Some(first) = faults.first() {
        let message = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        return Err(Failure { message, code: first.exit_code() });
    }
    print_line(&format!("{} is fine", path.display()));
    Ok(())
}

fn create_token(file: &EdgeFile, base: &Path, request: TokenRequest) -> Result<(), Failure> {
    let runtime = runtime()?;
    let made = runtime.block_on(server::create_token(file, base, request)).map_err(|error| match error {
        server::TokenError::Start(error) => Failure::from(error),
        other => Failure::refused(&other),
    })?;
    print_line(&made.token);
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| StartError::Runtime(error).into())
}

/// Serves until SIGTERM or SIGINT, then drains.
fn serve(file: &EdgeFile, base: &Path, path: &Path) -> Result<(), Failure> {
    telemetry::init_log();
    let runtime = runtime()?;
    // Before anybody is told that the edge is ready: an early signal drains it, too.
    let signals = runtime.block_on(async { Signals::new() }).map_err(StartError::Runtime)?;
    let server = Server::start(file, base)?;
    let addresses = server.addresses();
    let ready = serde_json::json!({
        "ready": true,
        "https": addresses.https.to_string(),
        "http": addresses.http.map(|http| http.to_string()),
        "admin": addresses.admin.to_string(),
    });
    print_line(&ready.to_string());
    runtime.block_on(signals.until_told_to_end(&server, path));
    tracing::info!("draining");
    let cut = server.drain();
    tracing::info!(cut, "ended");
    Ok(())
}

/// The signals that the edge listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn until_told_to_end(mut self, server: &Server, path: &Path) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(server, path),
            }
        }
    }
}

/// What can change while the edge runs is changed; what cannot is said.
fn reload(server: &Server, path: &Path) {
    // Whatever else is wrong: whoever moved the file away waits for it to be let go.
    server.reopen_access_log();
    if let Err(error) = read(path) {
        tracing::error!(%error, "the configuration has mistakes: nothing was changed");
        return;
    }
    match server.reload_certificates() {
        Ok(()) => tracing::info!("the certificates were read again; other changes of edge.toml need a restart"),
        Err(error) => tracing::error!(%error, "the certificates stay as they were"),
    }
}

/// Prints a line for programs. Whoever does not read it does not stop the edge.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).ok();
}

/// Tells a person what went wrong.
fn say(message: &str) {
    writeln!(std::io::stderr(), "{message}").ok();
}
