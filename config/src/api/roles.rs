//! Roles: named bundles of a scope and a place, for people and programs alike.
//!
//! Records never contain a role, only the scope and place of the role. The table of docs/access.md is written from
//! [`Role::ALL`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::{AppName, PlaceName};

/// Role of a person or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads an app.
    Viewer,
    /// Pushes to one environment of an app, by default its previews.
    Developer,
    /// Pushes to, promotes in and configures an app.
    #[serde(alias = "maintainer")]
    Team,
    /// Does everything in an app.
    Owner,
    /// Operates the edge.
    Ops,
}

/// Place of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolePlace {
    /// One app, or one environment of the app.
    App,
    /// One environment of an app, by default the previews.
    Environment,
    /// Every app.
    Edge,
}

/// Rights of a role: a scope and a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRights {
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// The scope.
    pub scope: Scope,
}

/// Error for a role and a place that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRole {
    /// The role is for one app, and the request names no app.
    #[error("the role {0} is for one app: name it")]
    NeedsApp(Role),
    /// The role is for every app, and the request names an app or an environment.
    #[error("the role {0} is for every app: name neither an app nor an environment")]
    EveryApp(Role),
    /// The request names both a role and a scope, or neither.
    #[error("name either a scope or a role")]
    RoleOrScope,
    /// The text is no role.
    #[error("`{0}` is not a role: viewer, developer, team (or maintainer), owner or ops")]
    Unknown(String),
}

impl Role {
    /// All roles, from the least to the most.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Developer, Self::Team, Self::Owner, Self::Ops];

    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Team => "team",
            Self::Owner => "owner",
            Self::Ops => "ops",
        }
    }

    /// Returns the scope.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Viewer => Scope::Read,
            Self::Developer => Scope::Push,
            Self::Team => Scope::Promote,
            Self::Owner | Self::Ops => Scope::Admin,
        }
    }

    /// Returns the place.
    #[must_use]
    pub fn place(self) -> RolePlace {
        match self {
            Self::Viewer | Self::Team | Self::Owner => RolePlace::App,
            Self::Developer => RolePlace::Environment,
            Self::Ops => RolePlace::Edge,
        }
    }

    /// Returns the purpose, as a phrase of the documents.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Viewer => "looking: status, history, logs",
            Self::Developer => "previews of branches, and what is live in that environment alone",
            Self::Team => "pushes, promotions, going back, settings and webhooks in every environment",
            Self::Owner => "commands, tokens of the app, hostnames, deletion",
            Self::Ops => "accounts, tokens, the audit log of all, collection, backups",
        }
    }

    /// Resolves the role to a scope and a place, with the named app and environment, if any.
    ///
    /// # Errors
    /// [`BadRole::NeedsApp`], [`BadRole::EveryApp`].
    pub fn rights(self, app: Option<AppName>, environment: Option<PlaceName>) -> Result<RoleRights, BadRole> {
        let environment = match self.place() {
            RolePlace::Edge if app.is_some() || environment.is_some() => return Err(BadRole::EveryApp(self)),
            RolePlace::App | RolePlace::Environment if app.is_none() => return Err(BadRole::NeedsApp(self)),
            RolePlace::App | RolePlace::Edge => environment,
            RolePlace::Environment => Some(environment.unwrap_or_else(PlaceName::preview)),
        };
        Ok(RoleRights { app, environment, scope: self.scope() })
    }
}

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        match text {
            // Name of the role in GitLab and other systems.
            "maintainer" => Ok(Self::Team),
            _ => Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or_else(|| BadRole::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Resolves a request's scope or role to rights.
///
/// # Errors
/// [`BadRole`].
pub fn rights_of(
    scope: Option<Scope>,
    role: Option<Role>,
    app: Option<AppName>,
    environment: Option<PlaceName>,
) -> Result<RoleRights, BadRole> {
    match (scope, role) {
        (Some(scope), None) => Ok(RoleRights { app, environment, scope }),
        (None, Some(role)) => role.rights(app, environment),
        (None, None) | (Some(_), Some(_)) => Err(BadRole::RoleOrScope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(role: &str, app: Option<&str>, environment: Option<&str>) -> Result<String, BadRole> {
        let role: Role = role.parse()?;
        let (app, environment) = (app.map(|app| app.parse().unwrap()), environment.map(|name| name.parse().unwrap()));
        let RoleRights { app, environment, scope } = role.rights(app, environment)?;
        let app = app.map_or_else(|| "all".to_owned(), |app| app.to_string());
        Ok(format!("{scope} {app} {}", environment.map_or_else(|| "all".to_owned(), |name| name.to_string())))
    }

    #[test]
    fn a_role_is_a_scope_and_a_place() {
        for (role, app, environment, expected) in [
            ("viewer", Some("shop"), None, "read shop all"),
            ("developer", Some("shop"), None, "push shop preview"),
            ("developer", Some("shop"), Some("staging"), "push shop staging"),
            ("team", Some("shop"), None, "promote shop all"),
            ("maintainer", Some("shop"), Some("prod"), "promote shop prod"),
            ("owner", Some("shop"), None, "admin shop all"),
            ("ops", None, None, "admin all all"),
        ] {
            assert_eq!(rights(role, app, environment).as_deref(), Ok(expected), "{role}");
        }
    }

    #[test]
    fn a_role_in_another_place_is_refused() {
        assert_eq!(rights("team", None, None), Err(BadRole::NeedsApp(Role::Team)));
        assert_eq!(rights("ops", Some("shop"), None), Err(BadRole::EveryApp(Role::Ops)));
        assert_eq!(rights("Ops", None, None), Err(BadRole::Unknown("Ops".to_owned())));
        let both = rights_of(Some(Scope::Read), Some(Role::Team), None, None);
        assert_eq!((both, rights_of(None, None, None, None)), (Err(BadRole::RoleOrScope), Err(BadRole::RoleOrScope)));
    }
}
