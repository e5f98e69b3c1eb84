//! Commands about who may what: tokens, the audit log.

use clap::{Args, Subcommand};
use devanture_config::api::{Scope, lifetime_s};

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
