//! Accounts of people, and invitations.

use serde::{Deserialize, Serialize};

use super::roles::{BadRole, Role, RoleRights, rights_of};
use super::{AccountName, Scope, Secret};
use crate::names::{AppName, PlaceName};

/// `POST /v1/accounts`: makes an account. A request may name a role in place of the scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AccountRequestForm")]
pub struct AccountRequest {
    /// Login name.
    pub name: AccountName,
    /// App that access is limited to; all apps if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Password; without a password, logins fail until an invitation is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Wire form of [`AccountRequest`].
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

/// Listed account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Name.
    pub name: AccountName,
    /// App that access is limited to; all apps if absent.
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Creation time, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Time of the last password change; 0 without a password.
    pub password_ms: u64,
    /// Number of valid logins, including browser sessions.
    pub logins: u64,
    /// Time of the newest login.
    pub last_login_ms: Option<u64>,
    /// Expiry of the open invitation, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_until_ms: Option<u64>,
}

/// Response to changes of accounts and invitations with `dry_run`: the account to be made, invited or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPrediction {
    /// Always true.
    pub dry_run: bool,
    /// Name.
    pub name: AccountName,
    /// App that access is limited to; all apps if absent.
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
    /// Expiry of the new invitation, or of the invitation to be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_until_ms: Option<u64>,
}

/// `POST /v1/accounts/{account}/invitation`: makes an invitation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitationRequest {
    /// Lifetime in seconds; by default `invitation_ms_max`, the maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// Response to [`InvitationRequest`]. The invitation is shown only here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationMade {
    /// The account.
    pub account: AccountName,
    /// Invitation. Appended to `/v1/invitations#` at the edge's address, the text is the link for a person.
    pub invitation: Secret,
    /// Expiry, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// `POST /v1/invitations`: accepts an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// The invitation.
    pub invitation: Secret,
    /// New password of the account.
    pub password: Secret,
}

/// Response to [`AcceptRequest`]: the account with the new password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationAccepted {
    /// The account.
    pub account: AccountName,
    /// App that access is limited to; all apps if absent.
    pub app: Option<AppName>,
    /// Environment that access is limited to; all environments if absent.
    pub environment: Option<PlaceName>,
    /// Scope.
    pub scope: Scope,
}

/// `GET /v1/accounts`: accounts in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<AccountInfo>,
}

/// `PUT /v1/accounts/{account}/password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// New password; every login of the account ends.
    pub password: Secret,
}
