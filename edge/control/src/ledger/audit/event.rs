//! Events of the audit log: actions, and deeds with their app and environment.

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
        /// An action.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Action {
            /// All actions.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The action as it stands in the audit log.
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
    /// An invitation was accepted: its account has the password that came with it.
    AcceptInvitation = "accept_invitation",
    /// A hostname was given to an environment, or the one that the others lead to was said.
    AddHostname = "add_hostname",
    /// A member was added to an upstream, or gets requests again.
    AddMember = "add_member",
    /// A webhook was added, or set to something else.
    AddWebhook = "add_webhook",
    /// A passkey was registered for an account.
    AddPasskey = "add_passkey",
    /// A canary began, or got another share of the visitors.
    Canary = "canary",
    /// The session of a browser was confirmed.
    Confirm = "confirm",
    /// An account was made.
    CreateAccount = "create_account",
    /// A token was made.
    CreateToken = "create_token",
    /// A snapshot of the data of an environment was removed.
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
    /// A member of an upstream gets no new requests.
    DrainMember = "drain_member",
    /// A console was installed.
    InstallConsole = "install_console",
    /// An identity token was exchanged for a token.
    ExchangeToken = "exchange_token",
    /// An invitation to set the password of an account was made.
    Invite = "invite",
    /// The session of a browser was ended by somebody else, or from another browser.
    EndSession = "end_session",
    /// An environment was locked, or its lock changed.
    Lock = "lock",
    /// Somebody logged in.
    Login = "login",
    /// Somebody logged out.
    Logout = "logout",
    /// An environment was paused, or its pause changed.
    Pause = "pause",
    /// The data of an environment, or a snapshot of it, was downloaded.
    PullData = "pull_data",
    /// A version was made live by a promotion.
    Promote = "promote",
    /// A deleted app can be restored no more.
    PurgeApp = "purge_app",
    /// A deleted environment can be restored no more.
    PurgeEnvironment = "purge_environment",
    /// A deleted version can be restored no more.
    PurgeVersion = "purge_version",
    /// A version was made live by a push.
    Push = "push",
    /// The data of an environment was replaced by an upload.
    PushData = "push_data",
    /// Settings that are marked for development were read.
    ReadSettings = "read_settings",
    /// Who may see an environment, or the previews of an app, was set.
    Protect = "protect",
    /// The console was removed.
    RemoveConsole = "remove_console",
    /// A message to a webhook was sent again on request.
    Redeliver = "redeliver",
    /// A hostname was taken from an environment.
    RemoveHostname = "remove_hostname",
    /// A passkey of an account was removed.
    RemovePasskey = "remove_passkey",
    /// A member was taken from an upstream.
    RemoveMember = "remove_member",
    /// A webhook was removed.
    RemoveWebhook = "remove_webhook",
    /// Instances of an environment were restarted.
    Restart = "restart",
    /// A withdrawn path was let answer again.
    Restore = "restore",
    /// The data of an environment was replaced by a snapshot.
    RestoreData = "restore_data",
    /// A pause was ended.
    Resume = "resume",
    /// An old refresh token was presented, and its login ended.
    ReuseRefreshToken = "reuse_refresh_token",
    /// An invitation was revoked.
    RevokeInvitation = "revoke_invitation",
    /// A share link was revoked.
    RevokeShare = "revoke_share",
    /// A token was revoked.
    RevokeToken = "revoke_token",
    /// A version was made live by a rollback.
    Rollback = "rollback",
    /// A webhook got another secret.
    RotateWebhook = "rotate_webhook",
    /// A schedule was run on request.
    RunSchedule = "run_schedule",
    /// A command was run in an environment.
    Run = "run",
    /// A command that was run has ended.
    RunEnded = "run_ended",
    /// The number of instances was changed.
    Scale = "scale",
    /// A snapshot of the data of an environment was made.
    SnapshotData = "snapshot_data",
    /// An alias was pointed to a version.
    SetAlias = "set_alias",
    /// What an app has sessions confirm was changed.
    SetConfirmations = "set_confirmations",
    /// An account got another password.
    SetPassword = "set_password",
    /// A version was stored.
    StoreVersion = "store_version",
    /// Whose signatures an environment wants was set.
    SetSigners = "set_signers",
    /// A signature of a version was added.
    SignVersion = "sign_version",
    /// Settings of an environment were changed.
    Settings = "settings",
    /// A share link was made.
    Share = "share",
    /// A version was made live by a switch.
    Switch = "switch",
    /// A webhook was tested.
    TestWebhook = "test_webhook",
    /// Something deleted was restored.
    Undelete = "undelete",
    /// A lock was ended.
    Unlock = "unlock",
    /// Visitors are held on no earlier version any more.
    Unpin = "unpin",
    /// A path was withdrawn.
    Withdraw = "withdraw",
}

/// What an actor may cover up: who got rights, or took them, ran commands, or read secrets. Exchanged tokens are none
/// of them, as each job of CI has one.
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

/// Whether entries of this action are kept longest.
pub(super) fn is_lasting(action: &str) -> bool {
    LASTING.iter().any(|lasting| lasting.as_str() == action)
}

impl Action {
    /// Whether it ends what somebody may do, or has a limit of its own: the holder of a stolen token must not keep its
    /// owner from that by using it up.
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

    /// Whether a full disk must not prevent it: it frees space, ends what does harm or goes to what is stored, or is
    /// needed for one of these.
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

    /// Whether the app that it is about must not be deleted. Deletions and restorations check for themselves what they
    /// find, and tokens belong to their holders.
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

    /// Whether the environment must not be deleted either.
    const fn needs_environment(self) -> bool {
        self.needs_app() && !matches!(self, Self::DeleteEnvironment | Self::PurgeEnvironment)
    }
}

/// An action of an actor, as recorded in the audit log.
#[derive(Debug, Clone)]
pub(crate) struct AuditEvent {
    pub(super) action: Action,
    pub(super) app: Option<AppName>,
    environment: Option<PlaceName>,
    what: String,
    pub(super) announcement: Option<Box<Announcement>>,
}

impl AuditEvent {
    /// Something that concerns no app, or that [`AuditEvent::app`] or [`AuditEvent::place`] says more of.
    pub(crate) fn of(action: Action) -> Self {
        Self { action, app: None, environment: None, what: String::new(), announcement: None }
    }

    /// In which app.
    pub(crate) fn app(mut self, app: &AppName) -> Self {
        self.app = Some(app.clone());
        self
    }

    /// In which environment, or under which alias, of which app.
    pub(crate) fn place(mut self, app: &AppName, environment: &PlaceName) -> Self {
        self.environment = Some(environment.clone());
        self.app(app)
    }

    /// Its details.
    pub(crate) fn what(mut self, what: impl Display) -> Self {
        self.what = what.to_string().chars().take(WHAT_CHARACTERS_MAX).collect();
        self
    }

    /// With an announcement to webhooks, in the same commit.
    pub(crate) fn announcing(mut self, announcement: Option<Announcement>) -> Self {
        self.announcement = announcement.map(Box::new);
        self
    }

    /// Checks that nobody deleted the app, or the environment, since it was looked up: what is written below a deleted
    /// one would be there again once it is restored, or be found by the next owner of its name.
    pub(super) fn checks(&self) -> impl Iterator<Item = Check> {
        let deleted_app = self.needed_app().map(gone::deleted_app_key);
        let place = self.needed_app().zip(self.needed_environment());
        let deleted_environment = place.map(|(app, environment)| gone::deleted_environment_key(app, environment));
        deleted_app.into_iter().chain(deleted_environment).map(Check::Absent)
    }

    /// The app that must not be deleted.
    pub(in crate::ledger) fn needed_app(&self) -> Option<&AppName> {
        self.app.as_ref().filter(|_| self.action.needs_app())
    }

    /// The environment that must not be deleted.
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
