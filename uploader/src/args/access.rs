//! Commands about access: tokens, the audit log.

use clap::{Args, Subcommand};
use devanture_config::api::{Role, Scope, lifetime_s};

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List the tokens of the app
    List {
        /// Tokens of every app
        #[arg(long)]
        all_apps: bool,
    },
    /// Create a token for the app, or with --env for one environment of it, and print it
    Create {
        /// Name of the token in the history
        #[arg(long)]
        name: String,
        /// Scope: read, push (with read), promote (with push), run (with read) or admin (with all)
        #[arg(long, required_unless_present = "role")]
        scope: Option<Scope>,
        /// Role in place of a scope: viewer, developer, team, owner or ops
        #[arg(long, conflicts_with = "scope")]
        role: Option<Role>,
        /// Lifetime, such as 90d or 12h; by default that of the token in use
        #[arg(long, value_name = "TIME", value_parser = lifetime_s)]
        expires: Option<u64>,
        /// For every app
        #[arg(long)]
        all_apps: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Revoke a token: the next request with it is refused
    Revoke {
        /// Id of the token
        id: String,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Flags of `login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Log in at the provider of the edge, in a browser on any machine; for the app, or with --env one environment
    #[arg(long)]
    pub(crate) oidc: bool,
    /// For every app
    #[arg(long, requires = "oidc")]
    pub(crate) all_apps: bool,
}

/// Flags of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Number of entries
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only entries before this one
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<String>,
    /// Of every app
    #[arg(long)]
    pub(crate) all_apps: bool,
}
