//! Actors: a name, its scope and place, and the credential that proved them.

use std::net::IpAddr;

use devanture_config::api::{By, Scope, Via};
use devanture_config::{AppName, PlaceName};

/// Characters of the id of a token or an account, which the ids of their sessions and logins begin with.
pub(super) const OWNER_ID_CHARACTERS: usize = 12;

/// What the name of a token begins with that a trust gave, …
pub(crate) const TRUST_PREFIX: &str = "trust:";
/// … and that of a person, in the history and the audit log.
pub(crate) const PERSON_PREFIX: &str = "oidc:";

/// Whether an exchange of identity tokens makes tokens of that name; no others have one.
pub(crate) fn is_exchanged(name: &str) -> bool {
    name.starts_with(TRUST_PREFIX) || name.starts_with(PERSON_PREFIX)
}

/// The credential of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// It could open the socket in the data folder, or the data folder.
    Local,
    /// By a login with this id.
    Login(String),
    /// By the token with this id.
    Token(String),
    /// By the session of a browser with this id.
    Session(String, SessionOf),
}

/// The credential that the session of a browser began with, and acts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOf {
    /// An account.
    Account,
    /// The token with this id.
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

    /// Its public id.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Local => None,
            Self::Login(id) | Self::Token(id) | Self::Session(id, _) => Some(id),
        }
    }

    /// By which means it was shown.
    pub(crate) fn via(&self) -> Option<Via> {
        matches!(self, Self::Session(..)).then_some(Via::Session)
    }
}

/// The caller.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The name of the token or the account.
    pub name: String,
    /// For one app alone.
    pub app: Option<AppName>,
    /// For one environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// The address of the client; `None` for the socket in the data folder.
    pub from: Option<IpAddr>,
    /// Its credential.
    pub credential: Credential,
    /// The root of the chain of credentials that made a token, as the entry of the audit log has it.
    pub root: Option<String>,
    /// When its token or its login ends, in milliseconds since 1970 UTC. What it makes ends then, too.
    pub expires_ms: Option<u64>,
    /// Whether it is a session that was not confirmed when its request came, of a push when that began. What is only
    /// predicted needs no confirmation.
    pub unconfirmed: bool,
}

impl Actor {
    /// A local user who can open the socket in the data folder, and so can read the data anyway.
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

    /// The root of the chain of a token with the id `made`, which this actor makes. Neither a chain of tokens nor any
    /// number of them leads away from who began it.
    pub(crate) fn root_of(&self, made: &str) -> Option<String> {
        match &self.credential {
            Credential::Local => None,
            Credential::Login(id) | Credential::Session(id, SessionOf::Account) => {
                Some(format!("{}/{made}", id.get(..OWNER_ID_CHARACTERS).unwrap_or(id)))
            }
            // Each job of CI, and each login of a person, has a token of its own.
            Credential::Token(_) | Credential::Session(_, SessionOf::Token(_)) if is_exchanged(&self.name) => {
                Some(self.name.clone())
            }
            Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) => {
                Some(self.root.clone().unwrap_or_else(|| id.clone()))
            }
        }
    }

    /// Whose changes and streams are counted together: those of a token, those of all logins of an account. `None` on
    /// the edge's own machine, which does as much as it likes.
    pub(crate) fn owner(&self) -> Option<String> {
        match &self.credential {
            Credential::Local => None,
            Credential::Login(_) | Credential::Session(_, SessionOf::Account) => Some(format!("account {}", self.name)),
            Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) => Some(id.clone()),
        }
    }

    /// Whose share it takes of what all actors have together: that of its app, which may have many tokens, else that of
    /// its [`Actor::owner`].
    pub(crate) fn sharer(&self) -> Option<String> {
        let owner = self.owner()?;
        Some(self.app.as_ref().map_or(owner, |app| format!("app {app}")))
    }

    /// Its address for the audit log.
    pub(crate) fn address_text(&self) -> String {
        from_text(self.from)
    }
}

pub(crate) fn from_text(from: Option<IpAddr>) -> String {
    from.map_or_else(|| "local".to_owned(), |address| address.to_string())
}
