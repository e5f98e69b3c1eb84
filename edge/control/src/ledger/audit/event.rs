//! Events of the audit log: actions, with app and environment.

use std::fmt::Display;

use devanture_config::{AppName, PlaceName};

use crate::ledger::{Actor, Announcement};
use devanture_base::clock;
use devanture_store::catalog::Check;
use devanture_store::records::identities::AuditRecord;
use devanture_store::records::{StoredVia, gone};

/// Characters of [`AuditRecord::what`].
const WHAT_CHARACTERS_MAX: usize = 300;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Action.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Action {
            /// All actions.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the action as written in the audit log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

actions! {
    /// A canary was aborted: all visitors get the live version again.
    AbortCanary = "abort_canary",
    /// An invitation was accepted, with a password for its account.
    AcceptInvitation = "accept_invitation",
    /// A hostname was assigned to an environment, or the canonical hostname was set.
    AddHostname = "add_hostname",
    /// A member was added to an upstream, or resumed.
    AddMember = "add_member",
    /// A webhook was added or changed.
    AddWebhook = "add_webhook",
    /// A passkey was registered for an account.
    AddPasskey = "add_passkey",
    /// A canary began, or its share of visitors changed.
    Canary = "canary",
    /// A browser session was confirmed.
    Confirm = "confirm",
    /// An account was created.
    CreateAccount = "create_account",
    /// A token was created.
    CreateToken = "create_token",
    /// A snapshot of an environment's data was deleted.
    DeleteSnapshot = "delete_snapshot",
    /// An account was deleted, with its logins.
    DeleteAccount = "delete_account",
    /// An alias was deleted.
    DeleteAlias = "delete_alias",
    /// An app was deleted.
    DeleteApp = "delete_app",
    /// An environment was deleted.
    DeleteEnvironment = "delete_environment",
    /// A version was deleted.
    DeleteVersion = "delete_version",
    /// A member of an upstream was drained.
    DrainMember = "drain_member",
    /// A console was installed.
    InstallConsole = "install_console",
    /// An identity token was exchanged for a token.
    ExchangeToken = "exchange_token",
    /// An invitation was created.
    Invite = "invite",
    /// A browser session was ended by another user, or from another browser.
    EndSession = "end_session",
    /// An environment was locked, or its lock changed.
    Lock = "lock",
    /// A user logged in.
    Login = "login",
    /// A user logged out.
    Logout = "logout",
    /// An environment was paused, or its pause changed.
    Pause = "pause",
    /// The data of an environment, or a snapshot, was downloaded.
    PullData = "pull_data",
    /// A version was made live by a promotion.
    Promote = "promote",
    /// A deleted app was purged.
    PurgeApp = "purge_app",
    /// A deleted environment was purged.
    PurgeEnvironment = "purge_environment",
    /// A deleted version was purged.
    PurgeVersion = "purge_version",
    /// A version was made live by a push.
    Push = "push",
    /// The data of an environment was replaced by an upload.
    PushData = "push_data",
    /// Settings marked for development were read.
    ReadSettings = "read_settings",
    /// The protection of an environment, or of an app's previews, was set.
    Protect = "protect",
    /// The console was removed.
    RemoveConsole = "remove_console",
    /// A webhook message was sent again on request.
    Redeliver = "redeliver",
    /// A hostname was removed from an environment.
    RemoveHostname = "remove_hostname",
    /// A passkey of an account was removed.
    RemovePasskey = "remove_passkey",
    /// A member was removed from an upstream.
    RemoveMember = "remove_member",
    /// A webhook was removed.
    RemoveWebhook = "remove_webhook",
    /// Instances of an environment were restarted.
    Restart = "restart",
    /// A withdrawn path was restored.
    Restore = "restore",
    /// The data of an environment was replaced by a snapshot.
    RestoreData = "restore_data",
    /// A pause was ended.
    Resume = "resume",
    /// An old refresh token was presented, which ended its login.
    ReuseRefreshToken = "reuse_refresh_token",
    /// An invitation was revoked.
    RevokeInvitation = "revoke_invitation",
    /// A share link was revoked.
    RevokeShare = "revoke_share",
    /// A token was revoked.
    RevokeToken = "revoke_token",
    /// A version was made live by a rollback.
    Rollback = "rollback",
    /// The secret of a webhook was rotated.
    RotateWebhook = "rotate_webhook",
    /// A schedule was run on request.
    RunSchedule = "run_schedule",
    /// A command was run in an environment.
    Run = "run",
    /// A run command ended.
    RunEnded = "run_ended",
    /// The number of instances was changed.
    Scale = "scale",
    /// A snapshot of an environment's data was created.
    SnapshotData = "snapshot_data",
    /// An alias was pointed at a version.
    SetAlias = "set_alias",
    /// The confirmation settings of an app were changed.
    SetConfirmations = "set_confirmations",
    /// The password of an account was changed.
    SetPassword = "set_password",
    /// A version was stored.
    StoreVersion = "store_version",
    /// The required signers of an environment were set.
    SetSigners = "set_signers",
    /// A signature was added to a version.
    SignVersion = "sign_version",
    /// Settings of an environment were changed.
    Settings = "settings",
    /// A share link was created.
    Share = "share",
    /// A version was made live by a switch.
    Switch = "switch",
    /// A webhook was tested.
    TestWebhook = "test_webhook",
    /// A deleted item was restored.
    Undelete = "undelete",
    /// A lock was removed.
    Unlock = "unlock",
    /// Visitors were released from earlier versions.
    Unpin = "unpin",
    /// A path was withdrawn.
    Withdraw = "withdraw",
}

/// Actions an attacker might want to cover up: grants and revocations of rights, commands, reads of secrets. Token
/// exchanges are excluded, since each CI job makes one.
const LASTING: [Action; 20] = [
    Action::AcceptInvitation,
    Action::AddPasskey,
    Action::CreateAccount,
    Action::CreateToken,
    Action::DeleteAccount,
    Action::Invite,
    Action::Protect,
    Action::PullData,
    Action::ReadSettings,
    Action::RemovePasskey,
    Action::ReuseRefreshToken,
    Action::RevokeInvitation,
    Action::RevokeShare,
    Action::RevokeToken,
    Action::Run,
    Action::RunEnded,
    Action::SetConfirmations,
    Action::SetPassword,
    Action::SetSigners,
    Action::Share,
];

/// Returns true for actions whose entries are kept longest.
pub(super) fn is_lasting(action: &str) -> bool {
    LASTING.iter().any(|lasting| lasting.as_str() == action)
}

impl Action {
    /// Returns true for actions exempt from the rate limit: actions that end rights or have a limit of their own. The
    /// holder of a stolen token must not block its owner by exhausting the limit.
    pub(super) const fn is_always_let(self) -> bool {
        matches!(
            self,
            Self::EndSession
                | Self::Login
                | Self::Logout
                | Self::ReuseRefreshToken
                | Self::RevokeToken
                | Self::RunEnded
        )
    }

    /// Returns true for actions allowed on a full disk: actions that free space, end harm, or switch to stored
    /// versions, and their prerequisites.
    pub(super) const fn may_use_reserve(self) -> bool {
        self.is_always_let()
            || matches!(
                self,
                Self::AbortCanary
                    | Self::DeleteAccount
                    | Self::DeleteAlias
                    | Self::DeleteApp
                    | Self::DeleteEnvironment
                    | Self::DeleteVersion
                    | Self::Pause
                    | Self::PurgeApp
                    | Self::PurgeEnvironment
                    | Self::PurgeVersion
                    | Self::RevokeInvitation
                    | Self::RevokeShare
                    | Self::Rollback
                    | Self::Switch
                    | Self::Unpin
                    | Self::Withdraw
            )
    }

    /// Returns true for actions refused in a deleted app. Deletions and restorations check by themselves; tokens belong
    /// to their holders.
    const fn needs_app(self) -> bool {
        !matches!(
            self,
            Self::CreateToken
                | Self::DeleteApp
                | Self::EndSession
                | Self::ExchangeToken
                | Self::Logout
                | Self::PurgeApp
                | Self::RevokeToken
                | Self::RunEnded
                | Self::Undelete
        )
    }

    /// Returns true for actions refused in a deleted environment.
    const fn needs_environment(self) -> bool {
        self.needs_app() && !matches!(self, Self::DeleteEnvironment | Self::PurgeEnvironment)
    }
}

/// Action of an actor, for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct AuditEvent {
    pub(super) action: Action,
    pub(super) app: Option<AppName>,
    environment: Option<PlaceName>,
    what: String,
    pub(super) announcement: Option<Box<Announcement>>,
}

impl AuditEvent {
    /// Creates an event without an app; [`AuditEvent::app`] and [`AuditEvent::place`] add one.
    pub(crate) fn of(action: Action) -> Self {
        Self { action, app: None, environment: None, what: String::new(), announcement: None }
    }

    /// Sets the app.
    pub(crate) fn app(mut self, app: &AppName) -> Self {
        self.app = Some(app.clone());
        self
    }

    /// Sets the app, and the environment or alias.
    pub(crate) fn place(mut self, app: &AppName, environment: &PlaceName) -> Self {
        self.environment = Some(environment.clone());
        self.app(app)
    }

    /// Sets the details.
    pub(crate) fn what(mut self, what: impl Display) -> Self {
        self.what = what.to_string().chars().take(WHAT_CHARACTERS_MAX).collect();
        self
    }

    /// Adds an announcement to webhooks in the same commit.
    pub(crate) fn announcing(mut self, announcement: Option<Announcement>) -> Self {
        self.announcement = announcement.map(Box::new);
        self
    }

    /// Returns checks that app and environment were not deleted meanwhile: a record below a deleted app would reappear
    /// after a restoration, or be found by the next owner of the name.
    pub(super) fn checks(&self) -> impl Iterator<Item = Check> {
        let deleted_app = self.needed_app().map(gone::deleted_app_key);
        let place = self.needed_app().zip(self.needed_environment());
        let deleted_environment = place.map(|(app, environment)| gone::deleted_environment_key(app, environment));
        deleted_app.into_iter().chain(deleted_environment).map(Check::Absent)
    }

    /// Returns the app required to exist.
    pub(in crate::ledger) fn needed_app(&self) -> Option<&AppName> {
        self.app.as_ref().filter(|_| self.action.needs_app())
    }

    /// Returns the environment required to exist.
    pub(in crate::ledger) fn needed_environment(&self) -> Option<&PlaceName> {
        self.environment.as_ref().filter(|_| self.action.needs_environment())
    }

    pub(super) fn entry(&self, actor: &Actor, number: u64, node: Option<&str>) -> AuditRecord {
        AuditRecord {
            number,
            at_ms: clock::now_ms(),
            action: self.action.as_str().to_owned(),
            who: actor.name.clone(),
            by: actor.credential.by().into(),
            credential: actor.credential.id().map(str::to_owned),
            root: actor.root.clone(),
            via: actor.credential.via().map(StoredVia::from),
            from: actor.address_text(),
            node: node.map(str::to_owned),
            app: self.app.clone(),
            environment: self.environment.clone(),
            what: self.what.clone(),
        }
    }
}
