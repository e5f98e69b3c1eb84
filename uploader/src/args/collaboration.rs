//! Commands of a team: locks, differences, aliases.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use devanture_config::IdPrefix;
use devanture_config::text::Expiry;

/// Flags of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A version's id, an environment, an alias, or `live`; alone, it is compared with the live version
    #[arg(value_name = "FROM", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) from: String,
    /// The same, for the other side
    #[arg(value_name = "TO", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to: Option<String>,
    /// Most files to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// List all of them
    #[arg(long)]
    pub(crate) all: bool,
}

/// Flags of `lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Reason, shown to anyone who finds it locked
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `unlock`.
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Commands about aliases.
#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Point an alias at a version; a branch name that is too long is shortened
    Set {
        /// Alias
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Id of the version, or at least its first 6 characters
        id: IdPrefix,
        /// When it expires: after 14d, 12h, 90s, at 2030-01-31T12:00:00Z, or never
        #[arg(long, value_name = "WHEN")]
        expires: Option<Expiry>,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List all aliases
    List,
    /// Delete an alias; the version stays
    Delete {
        /// Alias
        name: String,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}
