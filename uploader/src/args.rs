//! The command line: commands, flags, help. It records what was typed, and touches nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{NonEmptyStringValueParser, Styles, styling::AnsiColor};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use devanture_config::api::{Scope, lifetime_s};
use devanture_config::digest::{BadIdPrefix, IdPrefix};
use devanture_config::expiry::Expiry;
use devanture_config::site_toml::RoutePath;
use devanture_config::{HostPattern, PlaceName};

use crate::settings::Name;

/// Blobs that are sent at once where nobody says a number.
const JOBS: u16 = 8;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  devanture init                          write a devanture.toml for this folder
  devanture init --from netlify           … from another provider's configuration
  devanture push                          put the site in production
  devanture push dist --env staging       … a given folder, in another environment
  devanture push --no-switch              store it and look at its preview first
  devanture switch 4f2a91                 make a stored version live
  devanture rollback                      back to the version that was live before
  devanture promote --from staging --to prod
  devanture status                        what is live, and where

Settings, the strongest first: flags, the environment, .env, devanture.toml.
  DEVANTURE_URL     address of the edge's admin listener   --url
  DEVANTURE_TOKEN   token of `devanture-edge token create` --token
  DEVANTURE_LOGIN, DEVANTURE_PASSWORD   in place of a token: an account of the edge
  DEVANTURE_APP     which app                              --app
  DEVANTURE_ENV     which environment, else prod           --env
  DEVANTURE_CA      a PEM file to trust                    --ca

Exit codes: 0 done, 1 refused with nothing changed, 2 wrong use or a mistake in a file,
3 the edge cannot be reached, 4 the token is missing or may not do this, 130 interrupted.";

const PUSH_EXAMPLES: &str = "\
Examples:
  devanture push                          the folder that devanture.toml names
  devanture push dist                     this folder
  devanture push site.zip                 an archive: zip, tar, tar.gz or tar.zst
  devanture push --no-switch              preview first; `devanture switch ID` makes it live
  devanture push --env staging -m 'New checkout'
  devanture push --if-live 4f2a91         only if nobody else pushed meanwhile
  devanture push --alias feature-x --expires 14d
                                          a preview with a lasting name; what is live stays
  devanture push dist --alias             … named after the branch
  devanture push --dry-run                print the version's id; needs no edge
  devanture push --json | jq -r .urls.preview

Left out, with a word about it: .git, .env*, *.pem, *.key, .DS_Store, node_modules.
After a push that failed, the version that was live still is.";

const HOSTNAME_EXAMPLES: &str = "\
Examples:
  devanture hostnames add www.example.org              where DNS must prove it, the record is told
  devanture hostnames add www.example.org --canonical  the others lead to it
  devanture hostnames add '*.example.org'              any one label
  devanture hostnames add bücher.example --env staging
  devanture hostnames remove www.example.org --dry-run";

const TOKEN_EXAMPLES: &str = "\
Examples:
  devanture token list                                  with their last use
  devanture token create --name ci --scope push --expires 90d
  devanture token create --name ci --scope push --env staging   for one environment alone
  devanture token revoke 0123456789ab                   refused from the next request on

It takes a token with the scope admin, and none that is made may do more.";

const PAUSE_EXAMPLES: &str = "\
Examples:
  devanture pause --message 'Back at ten.'
  devanture pause --allow /status --allow '/api/*'
  devanture resume

Visitors get 503.html of the site's root, else 5xx.html, else a page with the message.
A push while paused works, and leaves the pause as it is.";

const HISTORY_EXAMPLES: &str = "\
Examples:
  devanture history -n 5
  devanture history --env preview         pushes to aliases
  devanture history 4f2a91                one deploy whole: of this version, or of this id
  devanture history --all --json | jq -r '.deploys[].source.commit'";

const DIFF_EXAMPLES: &str = "\
Examples:
  devanture diff 4f2a91                   what would change if this version went live
  devanture diff live feature-x           the same of an alias
  devanture diff staging prod             … between two environments
  devanture diff 91c2aa 4f2a91            … between two versions

A returning visitor is one who has seen all of the first version.";

const LOCK_EXAMPLES: &str = "\
Examples:
  devanture lock --reason 'Sale until Monday'
  devanture lock --env staging
  devanture unlock

While locked, pushes store their version and give its preview, and what is live stays.
switch, promote and rollback are refused; whoever locked it, or an admin, may pass --force.";

const ALIAS_EXAMPLES: &str = "\
Examples:
  devanture alias set feature-x 4f2a91 --expires 14d
  devanture alias list
  devanture alias delete feature-x
  devanture push --alias feature-x        push, and point the alias at what was pushed";

const DELETE_EXAMPLES: &str = "\
Examples:
  devanture delete 4f2a91 --now           a version: its preview, and what it still answered
  devanture delete /salaries.pdf --now    a path: live, in previews and aliases, everywhere
  devanture delete /salaries.pdf --undo   every version that has the path answers it again

A version that is live, or that an alias points at, is not deleted.
A version that is stored later, and has the path, answers it. A push of the same
content is none: its version was stored before.";

/// Puts a front-end in production with one push, and takes it back with one rollback.
#[derive(Debug, Parser)]
#[command(
    name = "devanture",
    version,
    styles = STYLES,
    after_help = EXAMPLES,
    propagate_version = true,
    max_term_width = 100,
    disable_help_subcommand = true
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
    /// How it is told.
    #[command(flatten)]
    pub(crate) telling: Telling,
}

/// How a command tells what it does.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Telling {
    /// Put one line of JSON on stdout, also on failure
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no notes; mistakes are still told
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say on stderr where each setting comes from
    #[arg(long, global = true)]
    pub(crate) explain: bool,
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
    /// Look for mistakes in devanture.toml and the folder, without an edge
    Check(CheckArgs),
    /// Send the folder, and make it live
    Push(PushArgs),
    /// Make a stored version live
    Switch(SwitchArgs),
    /// Go back to the version that was live before, or to ID
    Rollback(RollbackArgs),
    /// Make live in one environment what is live in another
    Promote(PromoteArgs),
    /// Say what is live, and where
    Status,
    /// List what was live, newest first, or tell one deploy whole
    #[command(after_help = HISTORY_EXAMPLES)]
    History(HistoryArgs),
    /// Say what differs between two versions, and what visitors would load again
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Keep what is live: pushes then only store their version and give its preview
    #[command(after_help = LOCK_EXAMPLES)]
    Lock(LockArgs),
    /// End a lock
    Unlock(UnlockArgs),
    /// Give a version a name and hostname of its own, such as a branch's
    #[command(subcommand, after_help = ALIAS_EXAMPLES)]
    Alias(AliasCommand),
    /// List, add and remove hostnames of an environment's own
    #[command(subcommand, after_help = HOSTNAME_EXAMPLES)]
    Hostnames(HostnamesCommand),
    /// List, make and revoke tokens of the app
    #[command(subcommand, after_help = TOKEN_EXAMPLES)]
    Token(TokenCommand),
    /// Log in with DEVANTURE_LOGIN and DEVANTURE_PASSWORD, and keep that for further commands
    Login,
    /// End the login that is kept
    Logout,
    /// List who changed what, and from where, newest first
    Audit(AuditArgs),
    /// Tell visitors to come again later; previews and other environments go on
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(PauseArgs),
    /// End a pause
    Resume(ResumeArgs),
    /// End a version, or a path of all versions that are stored, at once and on every hostname
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(DeleteArgs),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  devanture completions bash > ~/.local/share/bash-completion/completions/devanture"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Flags of `init`.
#[derive(Debug, Args)]
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

/// Whose configuration `init --from` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// wrangler.toml, wrangler.json or wrangler.jsonc
    Cloudflare,
    /// firebase.json
    Firebase,
    /// netlify.toml
    Netlify,
    /// vercel.json
    Vercel,
}

impl Provider {
    /// As it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Firebase => "firebase",
            Self::Netlify => "netlify",
            Self::Vercel => "vercel",
        }
    }
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The folder; `www` of devanture.toml where nothing is said
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Let doubts pass, such as a rule that never applies
    #[arg(long)]
    pub(crate) allow_warnings: bool,
    /// Refuse what would be left out
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Flags of `push`.
#[derive(Debug, Args)]
#[command(after_help = PUSH_EXAMPLES)]
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
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Which version; the one that was live before where nothing is said
    pub(crate) id: Option<IdPrefix>,
    /// Do it though the environment is locked; whoever locked it may, and an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `promote`.
#[derive(Debug, Args)]
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
pub(crate) struct ResumeArgs {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A version's id, an environment, an alias, or `live`; alone, it is compared with what is live
    #[arg(value_name = "FROM", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from: String,
    /// The same, for what it is compared with
    #[arg(value_name = "TO", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to: Option<String>,
    /// How many files that differ are told
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Tell all of them
    #[arg(long)]
    pub(crate) all: bool,
}

/// Flags of `lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Why, for whoever finds it locked
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `unlock`.
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// A version's id, or 6 or more of its first characters; or a path, which begins with /
    #[arg(value_name = "VERSION|PATH")]
    pub(crate) what: Deletable,
    /// Mean it: a version comes back by a push alone, a path by --undo
    #[arg(long)]
    pub(crate) now: bool,
    /// Let a path answer again in every version that has it
    #[arg(long, conflicts_with = "now")]
    pub(crate) undo: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `delete` ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deletable {
    /// A path of every version that is stored.
    Path(String),
    /// A version.
    Version(IdPrefix),
}

impl FromStr for Deletable {
    type Err = BadIdPrefix;

    fn from_str(text: &str) -> Result<Self, BadIdPrefix> {
        if text.starts_with('/') { Ok(Self::Path(text.to_owned())) } else { text.parse().map(Self::Version) }
    }
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

/// What to do with aliases.
#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Point a name to a version; a branch name that is too long is shortened
    Set {
        /// The name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The version's id, or 6 or more of its first characters
        id: IdPrefix,
        /// When it ends: after 14d, 12h, 90s, at 2030-01-31T12:00:00Z, or never
        #[arg(long, value_name = "WHEN")]
        expires: Option<Expiry>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List all names
    List,
    /// Take a name away; the version stays
    Delete {
        /// The name
        name: String,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List the tokens of the app
    List {
        /// Those of every app
        #[arg(long)]
        all_apps: bool,
    },
    /// Make a token for the app, or with --env for one environment of it, and print it
    Create {
        /// What the history calls it
        #[arg(long)]
        name: String,
        /// What it may do: read, push, promote or admin, each holding those before it
        #[arg(long)]
        scope: Scope,
        /// How long it lives, such as 90d or 12h; else as long as the token that makes it
        #[arg(long, value_name = "TIME", value_parser = lifetime_s)]
        expires: Option<u64>,
        /// For every app
        #[arg(long)]
        all_apps: bool,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Revoke a token: the next request with it is refused
    Revoke {
        /// Its id
        id: String,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Flags of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only those before this entry
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<String>,
    /// Of every app
    #[arg(long)]
    pub(crate) all_apps: bool,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_settings_stand_before_or_after_the_command() {
        for line in ["devanture --app shop push", "devanture push --app shop", "devanture push -a shop"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.common.flags(), [(Name::App, "shop".to_owned())].into());
        }
        assert!(Cli::try_parse_from(["devanture", "push", "--env", ""]).is_err());
        assert!(Cli::try_parse_from(["devanture", "switch", "xyz"]).is_err());
    }

    #[test]
    fn a_hostname_is_read_in_either_form() {
        let read = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Hostnames(HostnamesCommand::Add { name, canonical, .. })) => {
                Some((name.to_string(), canonical))
            }
            _ => None,
        };
        for (line, expected) in [
            ("Bücher.example", Some(("xn--bcher-kva.example", None))),
            ("*.example.org --canonical=false", Some(("*.example.org", Some(false)))),
            ("--canonical www.example.org", Some(("www.example.org", Some(true)))),
            ("127.0.0.1", None),
            ("a..b", None),
        ] {
            let expected = expected.map(|(name, canonical)| (name.to_owned(), canonical));
            assert_eq!(read(&format!("devanture hostnames add {line}")), expected, "{line}");
        }
    }

    #[test]
    fn an_alias_is_named_or_the_branchs() {
        let read = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Push(args)) => Some((args.alias, args.dir.map(|dir| dir.display().to_string()))),
            _ => None,
        };
        let some = |text: &str| Some(text.to_owned());
        for (line, expected) in [
            ("devanture push", Some((None, None))),
            ("devanture push --alias x dist", Some((some("x"), some("dist")))),
            ("devanture push dist --alias", Some((some(""), some("dist")))),
            ("devanture push --alias --expires 14d", Some((some(""), None))),
            ("devanture push --expires 14d", None),
            ("devanture push --alias x --expires soon", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn every_command_has_its_help_and_no_line_of_it_is_overlong() {
        fn look(command: &mut clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let help = command.clone().term_width(100).render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
            command.get_subcommands_mut().for_each(look);
        }
        look(&mut Cli::command());
    }
}
