//! Commands about accounts and their invitations.

use clap::{Args, Subcommand};
use devanture_config::api::{AccountName, Role, Scope, lifetime_s};

/// Examples of `account`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture account list
  devanture account invite ada --scope push            a link by which Ada sets her password, once
  devanture account invite ada --scope admin --all-apps --expires 2d
  devanture account invite ada                          another link, for a password that was lost
  devanture account invite ada --revoke                 the link is good no more
  devanture account create ada --scope push             asks for the password, or reads it from stdin
  devanture account delete ada                          asks for its name; its logins end at once, its tokens stay

This needs a token with the scope admin for every app that does not end.";

/// Commands about accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// List the accounts, with their logins and open invitations
    List,
    /// Create an account for the app, or with --env for one environment of it, with a password
    Create {
        /// Name, such as ada or ada@example.org
        name: AccountName,
        /// Scope: read, push (with read), promote (with push), run (with read) or admin (with all)
        #[arg(long, required_unless_present = "role")]
        scope: Option<Scope>,
        /// Role in place of a scope: viewer, developer, team, owner or ops
        #[arg(long, conflicts_with = "scope")]
        role: Option<Role>,
        /// For every app
        #[arg(long)]
        all_apps: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print a link by which a person sets the password of an account once; with --scope for a new one
    Invite(InviteArgs),
    /// Delete an account, and end all its logins; tokens that it created stay
    Delete {
        /// Name
        name: AccountName,
        /// Do not ask for the name
        #[arg(long, short = 'y')]
        yes: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Flags of `account invite`.
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// Name, such as ada or ada@example.org
    pub(crate) name: AccountName,
    /// Create the account with this scope: read, push, promote, run or admin
    #[arg(long)]
    pub(crate) scope: Option<Scope>,
    /// Create the account with this role in place of a scope: viewer, developer, team, owner or ops
    #[arg(long, conflicts_with = "scope")]
    pub(crate) role: Option<Role>,
    /// Create it for every app
    #[arg(long, requires = "scope")]
    pub(crate) all_apps: bool,
    /// Lifetime of the link, such as 2d or 12h; by default the longest that the edge allows
    #[arg(long, value_name = "TIME", value_parser = lifetime_s)]
    pub(crate) expires: Option<u64>,
    /// Revoke the open invitation instead
    #[arg(long, conflicts_with_all = ["scope", "role", "expires"])]
    pub(crate) revoke: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl AccountCommand {
    /// Returns true if the command concerns the edge rather than an app.
    pub(super) fn is_of_the_edge(&self) -> bool {
        match self {
            Self::List | Self::Delete { .. } => true,
            Self::Create { all_apps, role, .. } => *all_apps || *role == Some(Role::Ops),
            Self::Invite(args) => {
                let is_named = args.scope.is_some() || args.role.is_some_and(|role| role != Role::Ops);
                !is_named || args.all_apps
            }
        }
    }
}
