//! Commands of a team: locks, differences, aliases.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use devanture_config::digest::IdPrefix;
use devanture_config::expiry::Expiry;

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
