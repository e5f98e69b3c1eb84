//! The command line: commands, flags, help. It records what was typed, and touches nothing.

mod dev;
mod env;
mod examples;
mod gate;
mod instances;
mod keeping;
mod logs;
mod routes;
mod team;
#[cfg(test)]
mod tests;
mod upstreams;
mod values;
mod who;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, Styles, styling::AnsiColor};
use clap::{Args, Parser, Subcommand, ValueHint};
use devanture_config::digest::IdPrefix;
use devanture_config::expiry::Expiry;
use devanture_config::site_toml::RoutePath;
use devanture_config::{HostPattern, PlaceName};

pub(crate) use dev::{ApiRoute, DevArgs};
pub(crate) use env::{EnvCommand, EnvSetArgs};
pub(crate) use gate::GateArgs;
pub(crate) use instances::{RestartArgs, ScaleArgs};
pub(crate) use keeping::{Deletable, DeleteArgs, GcArgs, Undeletable, UndeleteArgs};
pub(crate) use logs::{LogSource, LogsArgs};
pub(crate) use routes::RoutesArgs;
pub(crate) use team::{AliasCommand, DiffArgs, LockArgs, UnlockArgs};
pub(crate) use upstreams::{MemberArgs, UpstreamsArgs, UpstreamsCommand};
pub(crate) use values::{Format, Provider};
pub(crate) use who::{AuditArgs, TokenCommand};

use crate::progress::Volume;
use crate::settings::Name;
use keeping::{DELETE_EXAMPLES, GC_EXAMPLES, UNDELETE_EXAMPLES};

/// Blobs that are sent at once where nobody says a number.
const JOBS: u16 = 8;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Puts a front-end in production with one push, and takes it back with one rollback.
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
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Common {
    /// The address of the edge's admin listener [DEVANTURE_URL]
    #[arg(long, global = true, value_name = "URL", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::Url)]
    url: Option<String>,
    /// The token; better in DEVANTURE_TOKEN, since other users may see a command's flags
    #[arg(long, global = true, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new(), hide_default_value = true)]
    token: Option<String>,
    /// Which app [DEVANTURE_APP]
    #[arg(long, short = 'a', global = true, value_name = "APP", value_parser = NonEmptyStringValueParser::new())]
    app: Option<String>,
    /// Which environment, else prod [DEVANTURE_ENV]
    #[arg(long, short = 'e', global = true, value_name = "ENV", value_parser = NonEmptyStringValueParser::new())]
    env: Option<String>,
    /// A PEM file to trust beside the system's CAs [DEVANTURE_CA]
    #[arg(long, global = true, value_name = "FILE", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    ca: Option<String>,
    /// Another file than devanture.toml
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Let www, server.dir and links of the project lead anywhere in this folder, else that of devanture.toml
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<PathBuf>,
    /// How it is told.
    #[command(flatten)]
    pub(crate) telling: Telling,
}

/// How a command tells what it does.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Telling {
    /// Put one line of JSON on stdout, also on failure
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no notes; mistakes are still told
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say of each file that it was sent, and of each request its status and time; never the token
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Say on stderr where each setting comes from
    #[arg(long, global = true)]
    pub(crate) explain: bool,
}

impl Telling {
    /// How much is said.
    pub(crate) const fn volume(self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (false, true) => Volume::Verbose,
            (false, false) => Volume::Usual,
        }
    }
}

impl Common {
    /// The settings that were given as flags.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a devanture.toml for this folder
    Init(InitArgs),
    /// Look for mistakes in devanture.toml and the folder; an edge is asked for what is live alone
    Check(CheckArgs),
    /// Serve the folder on this machine as an edge would, and show each change at once
    Dev(DevArgs),
    /// Say which route, rule or file answers a path, and why, without an edge
    #[command(after_help = routes::EXAMPLES)]
    Routes(RoutesArgs),
    /// Send the folder, and make it live
    Push(PushArgs),
    /// Make a stored version live
    Switch(SwitchArgs),
    /// Go back to the version that was live before, or to ID
    Rollback(RollbackArgs),
    /// Make live in one environment what is live in another
    Promote(PromoteArgs),
    /// Say what is live, and where
    #[command(after_help = examples::STATUS)]
    Status,
    /// List what was live, newest first, or tell one deploy whole
    #[command(after_help = examples::HISTORY)]
    History(HistoryArgs),
    /// Say what differs between two versions, and what visitors would load again
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Keep what is live: pushes then only store their version and give its preview
    #[command(after_help = examples::LOCK)]
    Lock(LockArgs),
    /// End a lock
    #[command(after_help = examples::UNLOCK)]
    Unlock(UnlockArgs),
    /// Give a version a name and hostname of its own, such as a branch's
    #[command(subcommand, after_help = examples::ALIAS)]
    Alias(AliasCommand),
    /// List, add and remove hostnames of an environment's own
    #[command(subcommand, after_help = examples::HOSTNAMES)]
    Hostnames(HostnamesCommand),
    /// List the backends of an environment, and add, drain and remove members while it serves
    #[command(after_help = upstreams::EXAMPLES)]
    Upstreams(UpstreamsArgs),
    /// List the processes of the backend that the edge runs, and how each is
    #[command(after_help = instances::EXAMPLES)]
    Instances,
    /// Say how many instances of a process there are to be, or show how many there are
    #[command(after_help = instances::SCALE_EXAMPLES)]
    Scale(ScaleArgs),
    /// Start the instances of the backend, or of one process of it, anew
    #[command(after_help = instances::RESTART_EXAMPLES)]
    Restart(RestartArgs),
    /// Show the requests that were answered, or what instances write; with --tail as they come
    #[command(after_help = logs::EXAMPLES)]
    Logs(LogsArgs),
    /// List, set and unset the settings and secrets of an environment
    #[command(subcommand, after_help = examples::ENV)]
    Env(EnvCommand),
    /// List, make and revoke tokens of the app
    #[command(subcommand, after_help = examples::TOKEN)]
    Token(TokenCommand),
    /// Log in as the account DEVANTURE_LOGIN with DEVANTURE_PASSWORD, and keep that for further commands
    #[command(after_help = examples::LOGIN)]
    Login,
    /// End the login that is kept
    #[command(after_help = examples::LOGOUT)]
    Logout,
    /// List who changed what, and from where, newest first
    #[command(after_help = examples::AUDIT)]
    Audit(AuditArgs),
    /// Tell visitors to come again later; previews and other environments go on
    #[command(after_help = examples::PAUSE)]
    Pause(PauseArgs),
    /// End a pause
    Resume(ResumeArgs),
    /// End a version, a path, an environment or the app, at once and on every hostname
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(DeleteArgs),
    /// Have back an app, an environment or a version that was deleted; without a word, list them
    #[command(after_help = UNDELETE_EXAMPLES)]
    Undelete(UndeleteArgs),
    /// Delete what nothing refers to any more; the edge does so by itself from time to time
    #[command(after_help = GC_EXAMPLES)]
    Gc(GcArgs),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Flags of `init`.
#[derive(Debug, Args)]
#[command(after_help = examples::INIT)]
pub(crate) struct InitArgs {
    /// The folder that your build writes; one that is there is found where nothing is said
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) www: Option<String>,
    /// Read the provider's configuration, and say line by line what could not be carried over
    #[arg(long, value_name = "PROVIDER", value_enum)]
    pub(crate) from: Option<Provider>,
    /// Print the file instead of writing it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = examples::CHECK)]
pub(crate) struct CheckArgs {
    /// The folder; `www` of devanture.toml where nothing is said
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Let doubts pass, such as a rule that never applies
    #[arg(long)]
    pub(crate) allow_warnings: bool,
    /// Refuse what would be left out, and let doubts fail
    #[arg(long)]
    pub(crate) strict: bool,
    /// How what was found is told; github makes annotations of GitHub Actions
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) format: Format,
}

impl Command {
    /// Whether it concerns the edge, and no app alone.
    pub(crate) fn is_of_the_edge(&self) -> bool {
        match self {
            Self::Audit(args) => args.all_apps,
            Self::Token(TokenCommand::Create { all_apps, .. } | TokenCommand::List { all_apps }) => *all_apps,
            Self::Token(TokenCommand::Revoke { .. }) | Self::Gc(_) | Self::Login | Self::Logout => true,
            _ => false,
        }
    }

    /// Whether the command itself asks for JSON, besides --json.
    pub(crate) fn wants_json(&self) -> bool {
        matches!(self, Self::Check(CheckArgs { format: Format::Json, .. }))
    }
}

/// Flags of `push`.
#[derive(Debug, Args)]
#[command(after_help = examples::PUSH)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct PushArgs {
    /// The folder or archive to push; `www` of devanture.toml where nothing is said
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Store the version and give its preview, without making it live
    #[arg(long)]
    pub(crate) no_switch: bool,
    /// Go live even if a newer push did meanwhile
    #[arg(long)]
    pub(crate) force: bool,
    /// Go live only if this version is live
    #[arg(long, value_name = "ID")]
    pub(crate) if_live: Option<IdPrefix>,
    /// Give it this lasting preview name, and leave what is live; the branch's where none is said
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(crate) alias: Option<String>,
    /// When that name ends: after 14d, 12h, 90s, at 2030-01-31T12:00:00Z, or never
    #[arg(long, value_name = "WHEN", requires = "alias")]
    pub(crate) expires: Option<Expiry>,
    /// What the history says about this push; the commit's subject where nothing is said
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// The commit that was built; what git and the CI system say where nothing is said
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
    /// The branch that it is of; the same
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Let doubts pass, such as a rule that another provider would drop
    #[arg(long)]
    pub(crate) allow_warnings: bool,
    /// Let a fingerprinted name have other content than it had; browsers may keep the old one
    #[arg(long)]
    pub(crate) allow_refingerprint: bool,
    /// What it must pass before, and how it is watched after.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Refuse what would be left out
    #[arg(long)]
    pub(crate) strict: bool,
    /// How many files are sent at once
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// Print the version's id and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `switch`.
#[derive(Debug, Args)]
#[command(after_help = examples::SWITCH)]
pub(crate) struct SwitchArgs {
    /// The version's id, or 6 or more of its first characters
    pub(crate) id: IdPrefix,
    /// Only if this version is live
    #[arg(long, value_name = "ID")]
    pub(crate) if_live: Option<IdPrefix>,
    /// Let a fingerprinted name have other content than it had; browsers may keep the old one
    #[arg(long)]
    pub(crate) allow_refingerprint: bool,
    /// Do it though the environment is locked; whoever locked it may, and an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// What it must pass before, and how it is watched after.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = examples::ROLLBACK)]
pub(crate) struct RollbackArgs {
    /// Which version; the one that was live before where nothing is said
    pub(crate) id: Option<IdPrefix>,
    /// Do it though the environment is locked; whoever locked it may, and an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// What it must pass before, and how it is watched after.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Let the settings that it was live with hold again, too
    #[arg(long)]
    pub(crate) with_settings: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `promote`.
#[derive(Debug, Args)]
#[command(after_help = examples::PROMOTE)]
pub(crate) struct PromoteArgs {
    /// The environment whose live version is taken
    #[arg(long, value_name = "ENV")]
    pub(crate) from: PlaceName,
    /// The environment in which it is made live
    #[arg(long, value_name = "ENV")]
    pub(crate) to: PlaceName,
    /// Let a fingerprinted name have other content than it had; browsers may keep the old one
    #[arg(long)]
    pub(crate) allow_refingerprint: bool,
    /// Do it though the environment is locked; whoever locked it may, and an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// What it must pass before, and how it is watched after.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `pause`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// What visitors are told
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// A path that goes on answering, such as /status or '/api/*'; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) allow: Vec<RoutePath>,
    /// After how many seconds visitors are told to come again; 60 where nothing is said
    #[arg(long, value_name = "SECONDS")]
    pub(crate) retry_after: Option<u64>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
#[command(after_help = examples::RESUME)]
pub(crate) struct ResumeArgs {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// One deploy whole: the beginning of its id, or of its version's
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["before", "all"])]
    pub(crate) id: Option<String>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only those before this one, as the page before said it
    #[arg(long, value_name = "CURSOR")]
    pub(crate) before: Option<String>,
    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
}

/// What to do with hostnames.
#[derive(Debug, Subcommand)]
pub(crate) enum HostnamesCommand {
    /// List all names, and which one the others lead to
    List,
    /// Give a name to the environment, or move it there; `*.` and a name stands for any one label
    Add {
        /// The name, in ASCII or in Unicode
        name: HostPattern,
        /// Let the other names lead to this one, whatever devanture.toml says; `=false` takes that back
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
        canonical: Option<bool>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a name from the environment
    Remove {
        /// The name, in ASCII or in Unicode
        name: HostPattern,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}
