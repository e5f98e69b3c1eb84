//! The command line: commands, flags, help. Parses the arguments, without any effect.

mod access;
mod accounts;
mod apps;
mod canary;
mod collaboration;
mod data;
mod dev;
mod env;
mod examples;
mod gate;
mod halves;
mod instances;
mod logs;
mod protection;
mod retention;
mod routes;
mod run;
mod schedules;
mod signing;
mod switching;
#[cfg(test)]
mod tests;
mod upstreams;
mod values;
mod webhooks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, Styles, styling::AnsiColor};
use clap::{Args, Parser, Subcommand, ValueHint};
use devanture_config::api::Role;
use devanture_config::site_toml::RoutePath;
use devanture_config::{HostPattern, PlaceName};
use devanture_migrate::{FrameworkName, Provider};

pub(crate) use access::{AuditArgs, LoginArgs, TokenCommand};
pub(crate) use accounts::{AccountCommand, InviteArgs};
pub(crate) use apps::AppsArgs;
pub(crate) use canary::{CanaryAction, CanaryArgs, PlanArgs};
pub(crate) use collaboration::{AliasCommand, DiffArgs, LockArgs, UnlockArgs};
pub(crate) use data::{DataCommand, NodeArgs, PullArgs, PushDataArgs, SnapshotArgs};
pub(crate) use dev::{API_PATH, ApiRoute, DevArgs};
pub(crate) use env::{EnvCommand, EnvSetArgs};
pub(crate) use halves::OnlyArgs;
pub(crate) use instances::{RestartArgs, ScaleArgs};
pub(crate) use logs::{LogSource, LogsArgs};
pub(crate) use protection::{ProtectArgs, ShareArgs, ShareCommand};
pub(crate) use retention::{Deletable, DeleteArgs, GcArgs, Undeletable, UndeleteArgs};
pub(crate) use routes::RoutesArgs;
pub(crate) use run::RunArgs;
pub(crate) use schedules::{SchedulesArgs, SchedulesCommand};
pub(crate) use signing::{LiveLogArgs, SignArgs, SignersArgs, SignersCommand, VerifyArgs};
pub(crate) use switching::{PromoteArgs, PushArgs, RollbackArgs, SwitchArgs};
pub(crate) use upstreams::{MemberArgs, UpstreamsArgs, UpstreamsCommand};
pub(crate) use values::Format;
pub(crate) use webhooks::{WebhooksArgs, WebhooksCommand};

use crate::output::progress::Volume;
use crate::settings::{Name, PREVIEW};
use retention::{DELETE_EXAMPLES, GC_EXAMPLES, UNDELETE_EXAMPLES};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Put a front-end in production with one push, and go back with one rollback
#[derive(Debug, Parser)]
#[command(
    name = "devanture",
    version,
    styles = STYLES,
    after_help = examples::ALL,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Common {
    /// URL of the edge's admin listener [DEVANTURE_URL]
    #[arg(long, global = true, value_name = "URL", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::Url)]
    url: Option<String>,
    /// Token; DEVANTURE_TOKEN is safer, since other users may see the flags of a command
    #[arg(long, global = true, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new(), hide_default_value = true)]
    token: Option<String>,
    /// App [DEVANTURE_APP]
    #[arg(long, short = 'a', global = true, value_name = "APP", value_parser = NonEmptyStringValueParser::new())]
    app: Option<String>,
    /// Environment; prod by default [DEVANTURE_ENV]
    #[arg(long, short = 'e', global = true, value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    env: Option<String>,
    /// PEM file of CAs to trust besides those of the system [DEVANTURE_CA]
    #[arg(long, global = true, value_name = "FILE", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    ca: Option<String>,
    /// Configuration file, instead of devanture.toml
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Folder that www, server.dir and links of the project may lead to; that of devanture.toml by default
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<PathBuf>,
    /// Output options.
    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// Output options of every command.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct OutputFlags {
    /// Print one line of JSON on stdout, also on failure
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print each uploaded file, and status and time of each request; never the token
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Print on stderr where each setting comes from
    #[arg(long, global = true)]
    pub(crate) explain: bool,
}

impl OutputFlags {
    /// The volume of output.
    pub(crate) const fn volume(self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (false, true) => Volume::Verbose,
            (false, false) => Volume::Usual,
        }
    }
}

impl Common {
    /// Names the environment where no flag does.
    pub(crate) fn set_environment(&mut self, name: &PlaceName) {
        self.env.get_or_insert_with(|| name.to_string());
    }

    /// Returns the settings given as flags.
    pub(crate) fn flags(&self) -> BTreeMap<Name, String> {
        let flags = [
            (Name::Url, &self.url),
            (Name::Token, &self.token),
            (Name::App, &self.app),
            (Name::Env, &self.env),
            (Name::Ca, &self.ca),
        ];
        flags.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))).collect()
    }
}

impl Command {
    /// Returns the default environment of the command; `None` if the command does not depend on one.
    pub(crate) fn usual_place(&self) -> Option<PlaceName> {
        match self {
            Self::Push(PushArgs { alias: Some(_), .. }) => PREVIEW.parse().ok(),
            Self::Push(_) | Self::Rollback(_) | Self::Status | Self::Switch(_) => Some(PlaceName::prod()),
            _ => None,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a devanture.toml for this folder
    Init(InitArgs),
    /// Check devanture.toml and the folder for mistakes; an edge is only asked for the live version
    Check(CheckArgs),
    /// Serve the folder on this machine as an edge would, and reload pages at each change
    Dev(DevArgs),
    /// Explain which route, rule or file answers a path, without an edge
    #[command(after_help = routes::EXAMPLES)]
    Routes(RoutesArgs),
    /// Upload the folder and make it live
    Push(PushArgs),
    /// Make a stored version live
    Switch(SwitchArgs),
    /// Go back to the version that was live before, or to ID
    Rollback(RollbackArgs),
    /// Make the live version of one environment live in another
    Promote(PromoteArgs),
    /// Give a stored version to a share of the visitors: show, step, finish or abort it
    #[command(after_help = canary::EXAMPLES)]
    Canary(CanaryArgs),
    /// Release visitors who are held on earlier versions, as after an urgent fix
    #[command(after_help = examples::UNPIN)]
    Unpin,
    /// List the apps that the token may read, with what is live, since when and by whom
    #[command(after_help = apps::EXAMPLES)]
    Apps(AppsArgs),
    /// List the limits of the app, and what it uses of each
    #[command(after_help = examples::USAGE)]
    Usage,
    /// List the nodes of the edge, and what is live on each
    #[command(after_help = examples::NODES)]
    Nodes,
    /// Show what is live, and where
    #[command(after_help = examples::STATUS)]
    Status,
    /// Show what browsers reported about scripts and styles without a hash
    #[command(after_help = examples::INTEGRITY)]
    Integrity,
    /// List deploys, newest first, or show one in full
    #[command(after_help = examples::HISTORY)]
    History(HistoryArgs),
    /// Show what was live when, as a chain of hashes that is checked
    #[command(after_help = signing::LIVE_LOG_EXAMPLES)]
    LiveLog(LiveLogArgs),
    /// Sign a stored version, or list its signatures
    #[command(after_help = signing::SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// List or set whose signatures an environment wants: nothing else goes live there
    #[command(after_help = signing::SIGNERS_EXAMPLES)]
    Signers(SignersArgs),
    /// Download a live site as a visitor would, and check that each byte is of a signed version
    #[command(after_help = signing::VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Show the differences between two versions, and what visitors would load again
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Lock an environment: pushes then store their version without going live
    #[command(after_help = examples::LOCK)]
    Lock(LockArgs),
    /// Unlock an environment
    #[command(after_help = examples::UNLOCK)]
    Unlock(UnlockArgs),
    /// Give versions lasting names with hostnames of their own, such as a branch's
    #[command(subcommand, after_help = examples::ALIAS)]
    Alias(AliasCommand),
    /// List, add and remove custom hostnames
    #[command(subcommand, after_help = examples::HOSTNAMES)]
    Hostnames(HostnamesCommand),
    /// List the upstreams of an environment, and add, drain and remove members while it serves
    #[command(after_help = upstreams::EXAMPLES)]
    Upstreams(UpstreamsArgs),
    /// List the instances of the backend that the edge runs, with their state
    #[command(after_help = instances::EXAMPLES)]
    Instances,
    /// Set or show the number of instances of a process
    #[command(after_help = instances::SCALE_EXAMPLES)]
    Scale(ScaleArgs),
    /// Restart the instances of the backend, or of one process
    #[command(after_help = instances::RESTART_EXAMPLES)]
    Restart(RestartArgs),
    /// List the schedules of an environment with their next time and their last run, or run one now
    #[command(after_help = schedules::EXAMPLES)]
    Schedules(SchedulesArgs),
    /// List or set who may see the previews of the app, or an environment
    #[command(after_help = protection::PROTECT_EXAMPLES)]
    Protect(ProtectArgs),
    /// Make a link that opens a preview or an environment to who has it, or list and revoke such links
    #[command(after_help = protection::SHARE_EXAMPLES)]
    Share(ShareArgs),
    /// List, add, test and remove webhooks, which are notified of deploys, and show what was sent to them
    #[command(after_help = webhooks::EXAMPLES)]
    Webhooks(WebhooksArgs),
    /// Run a command once in the live version's folder, with the settings of the environment
    #[command(after_help = run::EXAMPLES)]
    Run(RunArgs),
    /// List, download, replace, save and restore the data that the backend keeps
    #[command(subcommand, after_help = data::EXAMPLES)]
    Data(DataCommand),
    /// Show answered requests, or the output of instances; with --tail as they come
    #[command(after_help = logs::EXAMPLES)]
    Logs(LogsArgs),
    /// List, set and unset settings and secrets of an environment
    #[command(subcommand, after_help = examples::ENV)]
    Env(EnvCommand),
    /// List, create and revoke tokens of the app
    #[command(subcommand, after_help = examples::TOKEN)]
    Token(TokenCommand),
    /// List, create, invite and delete accounts of people
    #[command(subcommand, after_help = accounts::EXAMPLES)]
    Account(AccountCommand),
    /// Log in as the account DEVANTURE_LOGIN with DEVANTURE_PASSWORD, or at a provider, and store the login
    #[command(after_help = examples::LOGIN)]
    Login(LoginArgs),
    /// Show the account, the person or the token in use, and its rights
    #[command(after_help = examples::WHOAMI)]
    Whoami,
    /// Log out, and remove the stored login
    #[command(after_help = examples::LOGOUT)]
    Logout,
    /// List changes with their author and address, newest first
    #[command(after_help = examples::AUDIT)]
    Audit(AuditArgs),
    /// Serve a maintenance page; previews and other environments go on
    #[command(after_help = examples::PAUSE)]
    Pause(PauseArgs),
    /// End the maintenance page
    Resume(ResumeArgs),
    /// Delete a version, a path, an environment or the app, at once and on every hostname
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(DeleteArgs),
    /// Restore a deleted app, environment or version; without arguments, list what can be restored
    #[command(after_help = UNDELETE_EXAMPLES)]
    Undelete(UndeleteArgs),
    /// Delete files that nothing refers to; the edge does so by itself from time to time
    #[command(after_help = GC_EXAMPLES)]
    Gc(GcArgs),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command into a folder; for those who make packages
    #[command(hide = true, after_help = examples::MAN)]
    Man {
        /// The folder, which exists
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// Flags of `init`.
#[derive(Debug, Args)]
#[command(after_help = examples::INIT)]
pub(crate) struct InitArgs {
    /// The folder that your build writes; by default the one that its configuration names, or that exists
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) www: Option<String>,
    /// The framework of the project; by default the one of package.json or of a configuration
    #[arg(long, value_name = "NAME", value_parser = values::framework(), conflicts_with = "from")]
    pub(crate) framework: Option<FrameworkName>,
    /// Read the provider's configuration, and list line by line what could not be carried over
    #[arg(long, value_name = "PROVIDER", value_parser = values::provider())]
    pub(crate) from: Option<Provider>,
    /// Print the file instead of writing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace a devanture.toml that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = examples::CHECK)]
pub(crate) struct CheckArgs {
    /// The folder; by default `www` of devanture.toml
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Ignore warnings, such as a rule that never applies
    #[arg(long)]
    pub(crate) allow_warnings: bool,
    /// Treat files that would be left out and warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Pass with a note where the project is not built, as in a hook
    #[arg(long)]
    pub(crate) if_built: bool,
    /// Format of the findings; github prints annotations of GitHub Actions
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// The half to check, if it is one alone.
    #[command(flatten)]
    pub(crate) half: OnlyArgs,
}

impl Command {
    /// Returns true if the command concerns the edge rather than an app.
    pub(crate) fn is_of_the_edge(&self) -> bool {
        match self {
            Self::Account(command) => command.is_of_the_edge(),
            Self::Audit(args) => args.all_apps,
            Self::Token(TokenCommand::Create { all_apps, role, .. }) => *all_apps || *role == Some(Role::Ops),
            Self::Token(TokenCommand::List { all_apps }) => *all_apps,
            Self::Token(TokenCommand::Revoke { .. }) | Self::Apps(_) | Self::Gc(_) | Self::Login(_) | Self::Logout => {
                true
            }
            Self::Whoami => true,
            _ => false,
        }
    }

    /// Returns true if the command itself requests JSON, besides --json.
    pub(crate) fn wants_json(&self) -> bool {
        matches!(self, Self::Check(CheckArgs { format: Format::Json, .. }))
    }
}

/// Flags of `pause`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Message for visitors
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Path that goes on answering, such as /status or '/api/*'; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) allow: Vec<RoutePath>,
    /// Seconds after which visitors should come again; 60 by default
    #[arg(long, value_name = "SECONDS")]
    pub(crate) retry_after: Option<u64>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
#[command(after_help = examples::RESUME)]
pub(crate) struct ResumeArgs {
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Show this deploy in full; the beginning of its id, or of its version's
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["before", "all"])]
    pub(crate) id: Option<String>,
    /// Number of deploys
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only deploys before this one, as printed by the previous page
    #[arg(long, value_name = "CURSOR")]
    pub(crate) before: Option<String>,
    /// All deploys
    #[arg(long)]
    pub(crate) all: bool,
}

/// Commands about hostnames.
#[derive(Debug, Subcommand)]
pub(crate) enum HostnamesCommand {
    /// List all hostnames, and which one the others redirect to
    List,
    /// Add a hostname to the environment, or move it there; `*.` before a name stands for any one label
    Add {
        /// Hostname, in ASCII or in Unicode
        name: HostPattern,
        /// Redirect the other hostnames to this one, overriding devanture.toml; `=false` undoes it
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
        canonical: Option<bool>,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove a hostname from the environment
    Remove {
        /// Hostname, in ASCII or in Unicode
        name: HostPattern,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}
