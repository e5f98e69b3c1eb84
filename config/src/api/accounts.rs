//! Accounts of people, and their invitations.

use serde::{Deserialize, Serialize};

use super::roles::{BadRole, Role, RoleRights, rights_of};
use super::{AccountName, Scope, Secret};
use crate::names::{AppName, PlaceName};

/// `POST /v1/accounts`: makes an account. A request may name a role in place of the scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AccountRequestForm")]
pub struct AccountRequest {
    /// Its login name.
    pub name: AccountName,
    /// For this app alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// For this environment alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// Its password; without one, nobody logs in before an invitation was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// [`AccountRequest`] as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountRequestForm {
    name: AccountName,
    #[serde(default)]
    app: Option<AppName>,
    #[serde(default)]
    environment: Option<PlaceName>,
    #[serde(default)]
    scope: Option<Scope>,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    password: Option<Secret>,
}

impl TryFrom<AccountRequestForm> for AccountRequest {
    type Error = BadRole;

    fn try_from(form: AccountRequestForm) -> Result<Self, BadRole> {
        let RoleRights { app, environment, scope } = rights_of(form.scope, form.role, form.app, form.environment)?;
        Ok(Self { name: form.name, app, environment, scope, password: form.password })
    }
}

/// An account, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its name.
    pub name: AccountName,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When its password was set; 0 while it has none.
    pub password_ms: u64,
    /// Logins that are in force, sessions of browsers among them.
    pub logins: u64,
    /// When the newest of them was made.
    pub last_login_ms: Option<u64>,
    /// When its open invitation ends, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_until_ms: Option<u64>,
}

/// The answer to changes of accounts and invitations with `dry_run`: the account that would be made, invited or
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPrediction {
    /// Always true.
    pub dry_run: bool,
    /// Its name.
    pub name: AccountName,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// When the invitation would end, or the one ends that would be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_until_ms: Option<u64>,
}

/// `POST /v1/accounts/{account}/invitation`: makes an invitation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitationRequest {
    /// Lifetime in seconds; by default `invitation_ms_max`, which is also the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// The answer to [`InvitationRequest`]: the only time that the invitation is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationMade {
    /// The account.
    pub account: AccountName,
    /// The invitation. Behind `/v1/invitations#` of the edge's address it is the link for a person.
    pub invitation: Secret,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// `POST /v1/invitations`: accepts an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// The invitation.
    pub invitation: Secret,
    /// The password that the account gets.
    pub password: Secret,
}

/// The answer to [`AcceptRequest`]: the account that has a password now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationAccepted {
    /// The account.
    pub account: AccountName,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
}

/// `GET /v1/accounts`: in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<AccountInfo>,
}

/// `PUT /v1/accounts/{account}/password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The new password; every login of the account ends.
    pub password: Secret,
}
