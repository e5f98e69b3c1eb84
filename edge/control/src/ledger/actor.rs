//! Actors: name, scope, environment, and proving credential.

use std::net::IpAddr;

use devanture_config::api::{By, Scope, Via};
use devanture_config::{AppName, PlaceName};

/// Characters of the id of a token or account, the prefix of the ids of its sessions and logins.
pub(super) const OWNER_ID_CHARACTERS: usize = 12;

/// Name prefix of tokens issued by a trust …
pub(crate) const TRUST_PREFIX: &str = "trust:";
/// … and of persons, in the history and the audit log.
pub(crate) const PERSON_PREFIX: &str = "oidc:";

/// Returns true for names of tokens issued in an exchange of identity tokens; no other tokens have these names.
pub(crate) fn is_exchanged(name: &str) -> bool {
    name.starts_with(TRUST_PREFIX) || name.starts_with(PERSON_PREFIX)
}

/// Credential of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Access to the socket in the data folder, or to the data folder.
    Local,
    /// Login with the id.
    Login(String),
    /// Token with the id.
    Token(String),
    /// Browser session with the id.
    Session(String, SessionOf),
}

/// Credential that began a browser session, and by which the session acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOf {
    /// Account.
    Account,
    /// Token with the id.
    Token(String),
}

impl Credential {
    pub(crate) fn by(&self) -> By {
        match self {
            Self::Local => By::Local,
            Self::Login(_) | Self::Session(_, SessionOf::Account) => By::Account,
            Self::Token(_) | Self::Session(_, SessionOf::Token(_)) => By::Token,
        }
    }

    /// Returns the public id.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Local => None,
            Self::Login(id) | Self::Token(id) | Self::Session(id, _) => Some(id),
        }
    }

    /// Returns the kind of the credential.
    pub(crate) fn via(&self) -> Option<Via> {
        matches!(self, Self::Session(..)).then_some(Via::Session)
    }
}

/// Caller of an operation.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Name of the token or account.
    pub name: String,
    /// The only permitted app, if restricted.
    pub app: Option<AppName>,
    /// The only permitted environment, if restricted.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Address of the client; `None` for the socket in the data folder.
    pub from: Option<IpAddr>,
    /// Credential.
    pub credential: Credential,
    /// Root of the chain of credentials behind a token, as recorded in the audit log.
    pub root: Option<String>,
    /// Expiry of the token or login, in milliseconds since 1970 UTC, which also limits tokens made by the actor.
    pub expires_ms: Option<u64>,
    /// True for a session without a confirmation at the time of its request, or, for a push, at its beginning. Dry runs
    /// need no confirmation.
    pub unconfirmed: bool,
}

impl Actor {
    /// Returns a local user with access to the socket in the data folder, and so to the data itself.
    #[must_use]
    pub fn local() -> Self {
        Self {
            name: "local".to_owned(),
            app: None,
            environment: None,
            scope: Scope::Admin,
            from: None,
            credential: Credential::Local,
            root: None,
            expires_ms: None,
            unconfirmed: false,
        }
    }

    /// Returns the root of the chain for a token `made` by the actor. No chain or number of tokens hides its
    /// originator.
    pub(crate) fn root_of(&self, made: &str) -> Option<String> {
        match &self.credential {
            Credential::Local => None,
            Credential::Login(id) | Credential::Session(id, SessionOf::Account) => {
                Some(format!("{}/{made}", id.get(..OWNER_ID_CHARACTERS).unwrap_or(id)))
            }
            // Each CI job, and each login of a person, has a token of its own.
            Credential::Token(_) | Credential::Session(_, SessionOf::Token(_)) if is_exchanged(&self.name) => {
                Some(self.name.clone())
            }
            Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) => {
                Some(self.root.clone().unwrap_or_else(|| id.clone()))
            }
        }
    }

    /// Returns the key for shared counts of changes and streams: a token, or an account with all its logins. `None` for
    /// local clients, which have no limit.
    pub(crate) fn owner(&self) -> Option<String> {
        match &self.credential {
            Credential::Local => None,
            Credential::Login(_) | Credential::Session(_, SessionOf::Account) => Some(format!("account {}", self.name)),
            Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) => Some(id.clone()),
        }
    }

    /// Returns the key for fair sharing among all actors: the app, which may have many tokens, or else
    /// [`Actor::owner`].
    pub(crate) fn sharer(&self) -> Option<String> {
        let owner = self.owner()?;
        Some(self.app.as_ref().map_or(owner, |app| format!("app {app}")))
    }

    /// Returns the address for the audit log.
    pub(crate) fn address_text(&self) -> String {
        from_text(self.from)
    }
}

pub(crate) fn from_text(from: Option<IpAddr>) -> String {
    from.map_or_else(|| "local".to_owned(), |address| address.to_string())
}
