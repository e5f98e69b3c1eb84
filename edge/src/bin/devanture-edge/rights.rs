//! The flags `--scope` and `--role` of tokens and accounts.

use clap::Args;
use devanture_config::api::{Role, RoleRights, Scope, rights_of};
use devanture_config::{AppName, PlaceName};

use crate::Failure;

/// A scope, or a role that stands for one.
#[derive(Args)]
pub(crate) struct RightsArgs {
    /// Scope: read, push (with read), promote (with push), run (with read) or admin (with all)
    #[arg(long, required_unless_present = "role")]
    scope: Option<Scope>,
    /// Role in place of a scope: viewer, developer, team, owner or ops
    #[arg(long, conflicts_with = "scope")]
    role: Option<Role>,
}

impl RightsArgs {
    /// Returns the rights within `app` and `environment`.
    pub(crate) fn at(&self, app: Option<AppName>, environment: Option<PlaceName>) -> Result<RoleRights, Failure> {
        rights_of(self.scope, self.role, app, environment)
            .map_err(|error| Failure { message: format!("--role: {error}"), code: 2 })
    }
}
