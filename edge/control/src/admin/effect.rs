//! What operations change for the visitors of an environment, and what follows from it: which of them sessions confirm,
//! and what they take where an environment wants signatures.

use devanture_config::api::ConfirmedAction;
use devanture_config::{AppName, PlaceName, VersionId};

use super::body;
use super::call::Call;
use super::operations::{AfterDeletion, Operation};
use super::state::Admin;
use crate::ledger::{Actor, Error};

/// What an operation changes of what the visitors of an environment get: pages, code, settings, members of upstreams,
/// kept data, who may see it, pauses, withdrawn paths, instances, pins, canaries, share links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Nothing,
    /// What the push that it ends was begun, confirmed and signed for.
    Continued,
    /// Which versions they get: those that are signed, which the commit checks.
    Signed,
    /// Something that nobody signs.
    Unsigned,
    /// Something that the live version provides for, or that shows them less: nothing unsigned answers them.
    Declared,
    /// They get what is live again, or see it no more by a link: free, as it ends what somebody may have done wrong.
    Undone,
    /// How many instances there are: more are declared, fewer are not; [`crate::environments`] checks which it is.
    Scaled,
    /// They see less, and something that nobody signs if the body has a message: [`crate::environments`] checks that.
    Worded,
    /// Something that nobody signs, of what the body names: its handler checks that by [`Admin::check_chosen`].
    Chosen,
}

impl Effect {
    /// Whether a session confirms it as what visitors get.
    pub(super) const fn is_confirmed(self) -> bool {
        matches!(self, Self::Signed | Self::Unsigned | Self::Declared | Self::Scaled | Self::Worded)
    }

    /// What it takes where an environment wants signatures; `None` if it changes nothing for visitors.
    pub(super) const fn needs(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Continued | Self::Signed => Some("signed versions"),
            Self::Unsigned => Some("`admin`"),
            Self::Declared | Self::Undone => Some("nothing more"),
            Self::Scaled => Some("`admin`, for fewer"),
            Self::Worded => Some("`admin`, for a message"),
            Self::Chosen => Some("`admin`, for such an environment"),
        }
    }
}

impl Admin {
    /// Checks that a session is confirmed, if the app wants that for this operation. What is only predicted needs none.
    pub(super) async fn check_confirmed(&self, operation: &Operation, call: &Call) -> Result<(), Error> {
        let mut actions = operation.confirmed_as().peekable();
        if actions.peek().is_none() || is_predicted(operation, call)? {
            return Ok(());
        }
        let app = call.path.app()?;
        if operation.deletes_app() {
            // With the app its list of confirmations goes, too.
            return self.credentials.check_confirmed(&call.actor, &app, None).await;
        }
        // What is the app's reaches all of its environments. A hostname may come from `prod` of any app, whichever
        // environment it goes to: who gives it away checks that.
        let reaches_prod = !operation.is_of_environment() || call.path.environment()? == PlaceName::prod();
        for action in actions.filter(|action| *action != ConfirmedAction::Promote || reaches_prod) {
            self.credentials.check_confirmed(&call.actor, &app, Some(action)).await?;
        }
        Ok(())
    }

    /// Checks that an actor may do what nobody signs in the environments that it reaches and that want signatures.
    ///
    /// # Errors
    /// `forbidden`.
    pub(super) async fn check_unsigned(&self, operation: &Operation, call: &Call) -> Result<(), Error> {
        if operation.effect != Effect::Unsigned {
            return Ok(());
        }
        let app = call.path.app()?;
        for environment in self.reached(operation, call, &app).await? {
            self.publisher.environments().signing.check_unsigned(&call.actor, (&app, &environment)).await?;
        }
        Ok(())
    }

    /// Enters what nobody signs in the live logs of the environments that it reaches and that want signatures, before
    /// it is done: what cannot be recorded is not done.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(super) async fn log_unsigned(&self, operation: &Operation, call: &Call) -> Result<(), Error> {
        // A change of the settings moves the live pointer, with its own entry, as a deletion and a return do.
        let is_logged = operation.id == "changeSettings" || operation.after_deletion == AfterDeletion::Own;
        if operation.effect != Effect::Unsigned || is_logged || is_predicted(operation, call)? {
            return Ok(());
        }
        let app = call.path.app()?;
        for environment in self.reached(operation, call, &app).await? {
            self.publisher.environments().signing.log_unsigned(&call.actor, (&app, &environment), operation.id).await?;
        }
        Ok(())
    }

    /// Checks and enters what nobody signs in an environment that a body names, as [`Self::check_confirmed`],
    /// [`Self::check_unsigned`] and [`Self::log_unsigned`] do.
    ///
    /// # Errors
    /// `forbidden`, `confirmation_required`.
    pub(super) async fn check_chosen(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        id: &str,
    ) -> Result<(), Error> {
        self.publisher.environments().signing.check_change(actor, (app, environment)).await?;
        self.publisher.environments().signing.log_unsigned(actor, (app, environment), id).await
    }

    /// Checks and enters what is done to a version that may have been replaced: visitors may have its files still, by
    /// a pin or from before a switch, in each environment whose history names it.
    ///
    /// # Errors
    /// As [`Self::check_chosen`].
    pub(super) async fn check_replaced(
        &self,
        actor: &Actor,
        (app, version): (&AppName, &VersionId),
        id: &str,
    ) -> Result<(), Error> {
        let mut environments = self.publisher.environments().signing.with_signers(app).await?;
        environments.retain(|environment| !environment.is_prod());
        environments.push(PlaceName::prod());
        let mut named = Vec::new();
        for environment in environments {
            if self.publisher.ledger().names_version(app, &environment, version).await? {
                self.publisher.environments().signing.check_change(actor, (app, &environment)).await?;
                named.push(environment);
            }
        }
        // No entry is of an operation that another environment refused.
        for environment in named {
            self.publisher.environments().signing.log_unsigned(actor, (app, &environment), id).await?;
        }
        Ok(())
    }

    /// The environments that an operation changes: that of its path, or all of the app that want signatures.
    async fn reached(&self, operation: &Operation, call: &Call, app: &AppName) -> Result<Vec<PlaceName>, Error> {
        match operation.is_of_environment() {
            true => Ok(vec![call.path.environment()?]),
            false => self.publisher.environments().signing.with_signers(app).await,
        }
    }
}

/// Whether a call only asks what its operation would do.
pub(super) fn is_predicted(operation: &Operation, call: &Call) -> Result<bool, Error> {
    Ok(operation.query.contains(&"dry_run") && body::dry_run(call.uri())?)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::admin::OPERATIONS;

    #[test]
    fn every_change_says_what_it_changes_for_visitors() {
        let of = |wanted: Effect| -> Vec<&str> {
            OPERATIONS.iter().filter(|row| row.effect == wanted).map(|row| row.id).collect()
        };
        assert_eq!(of(Effect::Continued), ["finish"]);
        assert_eq!(of(Effect::Signed), ["deploy", "switch", "rollback", "promote", "setCanary", "finishCanary"]);
        assert_eq!(
            of(Effect::Unsigned),
            [
                "deleteApp",
                "withdraw",
                "restore",
                "deleteEnvironment",
                "setSigners",
                "protect",
                "changeSettings",
                "addHostname",
                "removeHostname",
                "run",
                "pushData",
                "restoreSnapshot",
            ]
        );
        assert_eq!(of(Effect::Declared), ["resume", "setMember", "removeMember", "restart", "runSchedule"]);
        assert_eq!(of(Effect::Undone), ["revokeShare", "abortCanary", "unpin"]);
        assert_eq!((of(Effect::Scaled), of(Effect::Worded)), (vec!["scale"], vec!["pause"]));
        assert_eq!(of(Effect::Chosen), ["undelete", "makeShare", "deleteVersion"]);
        // What changes something in an environment and nothing of what its visitors get.
        let others = ["lock", "unlock", "makeSnapshot", "deleteSnapshot"];
        for row in OPERATIONS.iter().filter(|row| row.method != Method::GET && row.is_of_environment()) {
            assert_eq!(row.effect == Effect::Nothing, others.contains(&row.id), "{}", row.id);
        }
    }

    #[test]
    fn every_change_says_whether_a_session_confirms_it() {
        use ConfirmedAction::{Delete, Promote};
        // What is deleted of an app is confirmed, but for what goes back to what is live, and what a lock kept from
        // happening.
        for row in OPERATIONS.iter().filter(|row| row.method == Method::DELETE && row.path.contains("{app}")) {
            let is_free = row.effect == Effect::Undone || row.id == "unlock";
            assert_eq!(row.confirmed_as().next().is_none(), is_free, "{}", row.id);
        }
        let deletions: Vec<&str> =
            OPERATIONS.iter().filter(|row| row.confirmed_as().any(|one| one == Delete)).map(|row| row.id).collect();
        let expected = [
            "deleteApp",
            "removeWebhook",
            "rotateWebhook",
            "deleteVersion",
            "withdraw",
            "deleteAlias",
            "deleteEnvironment",
            "removeHostname",
            "pushData",
            "deleteSnapshot",
            "restoreSnapshot",
        ];
        assert_eq!(deletions, expected);
        // What changes for visitors is confirmed as such, whatever else it is; `finish` was when its push began.
        let others = [Effect::Nothing, Effect::Continued, Effect::Undone, Effect::Chosen];
        for row in OPERATIONS {
            assert_eq!(row.confirmed_as().any(|one| one == Promote), !others.contains(&row.effect), "{}", row.id);
        }
    }
}
