//! `devanture-edge`: the server's command line.

mod allocator;
mod authority;
mod check;
mod cluster;
mod configuration;
mod console;
mod copy;
mod doctor;
mod init;
mod local;
mod progress;
mod rights;
mod safekeeping;
mod serve;
mod terminal;
mod upgrade;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use configuration::{Configuration, base_of, read};
use devanture_config::api::{AccountInfo, AccountName, AccountRequest, RoleRights, TokenInfo, TokenRequest};
use devanture_config::edge_toml::{ControlGroups, EdgeFile};
use devanture_config::text::plain_text::escaped;
use devanture_config::text::{counted, date_time};
use devanture_config::{AppName, PlaceName};
use devanture_edge::server::{self, Local, LocalError, StartError};
use devanture_host::containers::run_container;
use devanture_host::spawner::{
    AUTO, HostSettings, HostUsers, SocketSettings, exec_instance, host, open_door, user_task,
};
use rights::RightsArgs;
use serve::Signals;
use terminal::{PasswordArgs, print_line, say};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The program name for shell completions.
const PROGRAM: &str = "devanture-edge";

/// Serve front-ends: store bundles, give each a preview, switch between versions atomically
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  devanture-edge init                          write edge.toml from answers
  devanture-edge --config edge.toml            run in the foreground
  devanture-edge check --config edge.toml      report every mistake in the file
  devanture-edge doctor --config edge.toml     look at the edge and its machine, and say what to do
  devanture-edge upgrade --check --program /tmp/devanture-edge --config edge.toml
  devanture-edge token create --config edge.toml --name ci --app shop --scope push
  devanture-edge account create --config edge.toml --name ada --scope admin
  devanture-edge console install console.tar.gz --config edge.toml
  devanture-edge cluster init --out cluster-ca  make the CA of a cluster
  devanture-edge verify --config edge.toml     read every stored file
  devanture-edge verify --from /backups/edge   read a backup, with no edge and no configuration
  devanture-edge backup --config edge.toml --to /backups/edge --keep 30
  devanture-edge copy --from edge.toml --to cluster.toml"
)]
struct Arguments {
    /// Configuration file
    #[arg(
        long, global = true, env = "DEVANTURE_EDGE_CONFIG", default_value = configuration::FILE, value_name = "FILE",
        value_hint = ValueHint::FilePath, value_parser = OsStringValueParser::new().map(configuration::path)
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Write a configuration file, from flags or from answers on a terminal
    Init(init::Arguments),
    /// Check the configuration, and report every mistake in it
    Check,
    /// Ask the edge that runs on this machine whether it is healthy; exits with 0 or 1
    Health {
        /// Ask whether it is ready for requests, rather than whether it runs
        #[arg(long)]
        ready: bool,
    },
    /// Look at the edge and its machine, and say what to do: a line each; exits with 1 if something fails
    Doctor(doctor::DoctorArgs),
    /// Pack what helps from afar into one archive, without secrets
    SupportBundle(doctor::SupportArgs),
    /// Read every stored file, or a backup, and name the versions that lack some; exits with 1 if any does
    Verify(safekeeping::VerifyArgs),
    /// Make damaged variants and deltas again, and take damaged files from a backup
    Repair(safekeeping::RepairArgs),
    /// Write a backup into a folder while the edge serves
    Backup(safekeeping::BackupArgs),
    /// Restore a backup into an empty data folder
    Restore(safekeeping::RestoreArgs),
    /// Copy the whole store to that of another configuration, as from one edge to a cluster and back, while it serves
    Copy(copy::Arguments),
    /// Try a new program on the configuration and the stored state, before it takes over
    Upgrade(upgrade::Arguments),
    /// Make the CA of a cluster, and the certificates of its nodes
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Print the certificate of the local authority, in PEM, for browsers and `DEVANTURE_CA`
    Authority,
    /// Create an empty catalog for a data folder that has lost its own; the edge does not start without one
    Adopt,
    /// Create, list and revoke tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Create, list and delete accounts, which log in with a password
    #[command(subcommand)]
    Account(AccountCommand),
    /// Install, remove and show the console, which is served beside the API
    #[command(subcommand)]
    Console(console::ConsoleCommand),
    /// Print completions for a shell
    Completions {
        /// Shell
        shell: Shell,
    },
    /// Write a man page for each command into a folder; for those who make packages
    #[command(hide = true)]
    Man {
        /// The folder, which exists
        folder: PathBuf,
    },
    /// Serve for `devanture dev` until the standard input ends; started by `devanture dev`
    #[command(hide = true)]
    Local,
    /// Start the instances of backends for an edge; started by the edge, or as a service of its own with --listen
    Spawner(SpawnerArgs),
    /// Become an instance; started by the spawner
    #[command(hide = true)]
    ExecInstance,
    /// Work on the data of an environment; started by the spawner
    #[command(hide = true)]
    DataTask,
    /// Stand for a container of an image; started by the spawner
    #[command(hide = true)]
    RunContainer,
    /// Do something as the user of an environment; started by the spawner
    #[command(hide = true)]
    UserTask,
}

/// With --listen, a service for edges of another user; else a child that serves the holder of its standard input.
#[derive(Args)]
struct SpawnerArgs {
    /// Serve edges that connect to this socket
    #[arg(long, value_name = "SOCKET", requires_all = ["user", "uids"])]
    listen: Option<PathBuf>,
    /// User that the edge runs as, by name or number
    #[arg(long, requires = "listen")]
    user: Option<String>,
    /// Users that instances may run as, such as 300000-365535; `auto` gives each edge its own range
    #[arg(long, value_name = "FIRST-LAST|auto", value_parser = uids)]
    uids: Option<HostUsers>,
    /// Control groups of instances: auto, off, or the folder of a delegated group (version 2)
    #[arg(long, value_name = "auto|off|FOLDER", default_value = "auto")]
    cgroup: ControlGroups,
}

/// Parses a range of users.
fn uids(text: &str) -> Result<HostUsers, String> {
    if text == AUTO {
        return Ok(HostUsers::Claimed(None));
    }
    let (first, last) = text.split_once('-').ok_or("it is neither `auto` nor a range, such as 300000-365535")?;
    let number = |text: &str| text.parse().map_err(|_not_one| format!("`{text}` is no number of a user"));
    Ok(HostUsers::Claimed(Some(number(first)?..=number(last)?)))
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Create a token and print it to standard output; it is never shown again
    Create {
        /// Name of the token in the history
        #[arg(long)]
        name: String,
        /// App; by default every app
        #[arg(long)]
        app: Option<AppName>,
        /// Environment; by default every environment
        #[arg(long, value_name = "ENVIRONMENT")]
        env: Option<PlaceName>,
        #[command(flatten)]
        rights: RightsArgs,
        /// Lifetime, such as 90d, 12h or 30m; unlimited by default
        #[arg(long, value_name = "TIME")]
        expires: Option<Lifetime>,
        /// Lifetime in days
        #[arg(long, value_name = "DAYS", conflicts_with = "expires")]
        expires_days: Option<u32>,
    },
    /// List all tokens, with their last use
    List {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: the next request with it is refused
    Revoke {
        /// Id of the token, which is also between the first two `_` of it
        id: String,
    },
}

#[derive(Subcommand)]
enum AccountCommand {
    /// Create an account; its password is read from standard input, or twice from a terminal
    Create {
        /// Name of the account
        #[arg(long)]
        name: AccountName,
        /// App; by default every app
        #[arg(long)]
        app: Option<AppName>,
        /// Environment; by default every environment
        #[arg(long, value_name = "ENVIRONMENT")]
        env: Option<PlaceName>,
        #[command(flatten)]
        rights: RightsArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List all accounts
    List {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the password of an account, and end all its logins
    Password {
        /// Name of the account
        #[arg(long)]
        name: AccountName,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Delete an account, and end all its logins; tokens that it created stay
    Delete {
        /// Name of the account
        #[arg(long)]
        name: AccountName,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            // Empty if the failure was reported in another form.
            if !message.is_empty() {
                say(&message);
            }
            ExitCode::from(code)
        }
    }
}

/// An error as a sentence, and the exit code.
struct Failure {
    message: String,
    pub code: u8,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self { message: error.to_string(), code: error.exit_code() }
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Start(error) => error.into(),
            other => Self::refused(&other),
        }
    }
}

impl Failure {
    fn refused(error: &impl Display) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    // Commands without a configuration: `init` writes the configuration, the rest gets all input over a socket.
    let refused = |error: std::io::Error| Failure::refused(&error);
    let config = arguments.config;
    let command = match arguments.command {
        Some(Command::Init(draft)) => return init::init(draft, &config),
        Some(Command::Spawner(arguments)) => return spawner(arguments).map_err(refused),
        Some(Command::ExecInstance) => return exec_instance().map_err(refused),
        Some(Command::DataTask) => return devanture_host::data_task::run().map_err(refused),
        Some(Command::RunContainer) => {
            // The exit code is the container's, which has reported the reason.
            return match run_container().map_err(refused)? {
                0 => Ok(()),
                code => Err(Failure { message: String::new(), code }),
            };
        }
        Some(Command::UserTask) => return user_task().map_err(refused),
        Some(Command::Completions { shell }) => {
            completions(shell);
            return Ok(());
        }
        Some(Command::Man { folder }) => {
            return clap_mangen::generate_to(Arguments::command(), folder).map_err(refused);
        }
        // `copy` reads two configurations.
        Some(Command::Copy(arguments)) => return runtime()?.block_on(copy::copy(arguments)),
        Some(Command::Cluster(command)) => return cluster::cluster(&command, &config),
        // `upgrade` lets the program under check read the configuration.
        Some(Command::Upgrade(arguments)) => return upgrade::upgrade(&arguments, &config),
        // `local` reports every failure to its parent.
        Some(Command::Local) => return local::serve(&config),
        Some(Command::Verify(mut args)) if args.from.is_some() => {
            // A backup may be on a machine without an edge.
            let from = args.from.take();
            return from.map_or(Ok(()), |from| runtime()?.block_on(safekeeping::verify_backup(&from, args)));
        }
        // `doctor` examines the machine even if the configuration has errors.
        Some(Command::Doctor(args)) => return runtime()?.block_on(doctor::doctor(&config, &args)),
        None => {
            // Before any read, since the input may be a pipe.
            allocator::give_back_early();
            None
        }
        other => other,
    };
    let configuration = read(&config)?;
    let Configuration { file, base, .. } = &configuration;
    match command {
        None => serve::serve(configuration, &config),
        Some(Command::Check) => check::check(file, base, &config),
        Some(Command::Health { ready }) => runtime()?.block_on(health(file, base, ready)),
        Some(Command::SupportBundle(args)) => runtime()?.block_on(doctor::support_bundle(&configuration, args)),
        Some(Command::Adopt) => adopt(file, base),
        Some(Command::Authority) => authority::authority(&configuration),
        Some(Command::Token(command)) => runtime()?.block_on(token(file, base, command)),
        Some(Command::Account(command)) => runtime()?.block_on(account(file, base, command)),
        Some(Command::Console(command)) => runtime()?.block_on(console::console(file, base, command)),
        Some(Command::Verify(args)) => runtime()?.block_on(safekeeping::verify(file, base, args)),
        Some(Command::Repair(args)) => runtime()?.block_on(safekeeping::repair(file, base, args)),
        Some(Command::Backup(args)) => runtime()?.block_on(safekeeping::backup(file, base, args)),
        Some(Command::Restore(args)) => runtime()?.block_on(safekeeping::restore(file, base, args)),
        // The commands that returned above.
        Some(_) => Ok(()),
    }
}

fn completions(shell: Shell) {
    // Into memory first: the generator exits the program if a write fails, for example because the reader closed the
    // pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), PROGRAM, &mut script);
    print_line(String::from_utf8_lossy(&script).trim_end());
}

fn spawner(arguments: SpawnerArgs) -> std::io::Result<()> {
    match arguments {
        SpawnerArgs { listen: Some(listen), user: Some(user), uids: Some(HostUsers::Claimed(uids)), cgroup } => {
            open_door(&SocketSettings { listen, user, uids, cgroup })
        }
        SpawnerArgs { uids, cgroup, .. } => host(HostSettings { cgroup, users: uids.unwrap_or_default() }),
    }
}

async fn health(file: &EdgeFile, base: &Path, ready: bool) -> Result<(), Failure> {
    print_line(server::health(file, base, ready).await?.trim_end());
    Ok(())
}

fn adopt(file: &EdgeFile, base: &Path) -> Result<(), Failure> {
    let folder = server::data_dir(file, base);
    let folder = folder.display();
    if !server::adopt(file, base)? {
        print_line(&format!("{folder} has a catalog; nothing was changed"));
        return Ok(());
    }
    print_line(&format!(
        "{folder} has an empty catalog now: make tokens and push all sites again. Once an app is stored, collections \
         take the files that nothing refers to"
    ));
    Ok(())
}

async fn token(file: &EdgeFile, base: &Path, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { name, app, env, rights, expires, expires_days } => {
            let expires_in_s = expires.map(|lifetime| lifetime.0);
            let expires_in_s = expires_in_s.or_else(|| expires_days.map(|days| u64::from(days) * 86_400));
            let RoleRights { app, environment, scope } = rights.at(app, env)?;
            let request = TokenRequest { name, app, environment, scope, expires_in_s };
            print_line(&Local::open(file, base).await?.create_token(request).await?.token);
        }
        TokenCommand::List { json } => {
            let tokens = Local::open(file, base).await?.tokens().await?;
            match json {
                true => print_line(&serde_json::json!({ "tokens": tokens }).to_string()),
                false => tokens.iter().for_each(|token| print_line(&token_line(token))),
            }
        }
        TokenCommand::Revoke { id } => Local::open(file, base).await?.revoke_token(&id).await?,
    }
    Ok(())
}

async fn account(file: &EdgeFile, base: &Path, command: AccountCommand) -> Result<(), Failure> {
    match command {
        AccountCommand::Create { name, app, env, rights, password } => {
            let RoleRights { app, environment, scope } = rights.at(app, env)?;
            let (password, is_made) = password.get()?;
            let request = AccountRequest { name, app, environment, scope, password: Some(password.clone()) };
            Local::open(file, base).await?.create_account(request).await?;
            if is_made {
                print_line(password.expose());
            }
        }
        AccountCommand::List { json } => {
            let list = Local::open(file, base).await?.accounts().await?;
            match json {
                true => print_line(&serde_json::json!(list).to_string()),
                false => list.accounts.iter().for_each(|account| print_line(&account_line(account))),
            }
        }
        AccountCommand::Password { name, password } => {
            let (password, is_made) = password.get()?;
            Local::open(file, base).await?.set_password(&name, password.clone()).await?;
            if is_made {
                print_line(password.expose());
            }
        }
        AccountCommand::Delete { name } => Local::open(file, base).await?.delete_account(&name).await?,
    }
    Ok(())
}

/// Formats id, scope, environment, expiry, last use and name, separated by two spaces; the name may contain spaces.
fn token_line(token: &TokenInfo) -> String {
    let place = place(token.app.as_ref(), token.environment.as_ref());
    let ends = token.expires_ms.map_or_else(|| "never ends".to_owned(), |at| format!("ends {}", date_time(at)));
    let used = token.last_used_ms.map_or_else(|| "never used".to_owned(), |at| format!("used {}", date_time(at)));
    format!("{}  {}  {place}  {ends}  {used}  {}", token.id, token.scope, escaped(&token.name))
}

fn account_line(account: &AccountInfo) -> String {
    let place = place(account.app.as_ref(), account.environment.as_ref());
    let logins = counted(account.logins, "login");
    format!("{}  {}  {place}  {logins}", account.name, account.scope)
}

fn place(app: Option<&AppName>, environment: Option<&PlaceName>) -> String {
    match (app, environment) {
        (Some(app), Some(environment)) => format!("{app}/{environment}"),
        (Some(app), None) => app.to_string(),
        (None, _) => "every app".to_owned(),
    }
}

/// A time span in human form: a number followed by `d`, `h` or `m`.
#[derive(Debug, Clone, Copy)]
struct Lifetime(u64);

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        devanture_config::api::lifetime_s(text).map(Self)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| StartError::Runtime(error).into())
}
