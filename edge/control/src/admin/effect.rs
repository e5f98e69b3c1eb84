//! Effects of operations on the visitors of an environment, and their consequences: confirmation by sessions, and
//! checks in environments with required signatures.

use devanture_config::api::ConfirmedAction;
use devanture_config::{AppName, PlaceName, VersionId};

use super::body;
use super::call::Call;
use super::operations::{AfterDeletion, Operation};
use super::state::Admin;
use crate::ledger::{Actor, Error};

/// Effect of an operation on visitors: pages, code, settings, upstream members, data, access, pauses, withdrawn paths,
/// instances, pins, canaries, share links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// No effect.
    Nothing,
    /// Completes a push, which was confirmed and signed at its beginning.
    Continued,
    /// Selects served versions, which must be signed; the commit checks signatures.
    Signed,
    /// Makes an unsigned change.
    Unsigned,
    /// Uses a provision of the live version, or restricts visitors; no unsigned content is served.
    Declared,
    /// Restores the live content, or ends access by a link: always allowed, since the operation may undo a mistake.
    Undone,
    /// Sets the number of instances: only numbers above the declared are unsigned; [`crate::environments`] checks the
    /// number.
    Scaled,
    /// Restricts visitors; unsigned only with a message in the body, as [`crate::environments`] checks.
    Worded,
    /// Makes an unsigned change of an environment named by the body; the handler calls [`Admin::check_chosen`].
    Chosen,
}

impl Effect {
    /// Returns true if a session confirms the operation as a change for visitors.
    pub(super) const fn is_confirmed(self) -> bool {
        matches!(self, Self::Signed | Self::Unsigned | Self::Declared | Self::Scaled | Self::Worded)
    }

    /// Returns the requirement in an environment with required signatures; `None` without an effect on visitors.
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
    /// Checks the confirmation of the session, if the app requires confirmation for the operation. A dry run requires
    /// no confirmation.
    pub(super) async fn check_confirmed(&self, operation: &Operation, call: &Call) -> Result<(), Error> {
        let mut actions = operation.confirmed_as().peekable();
        if actions.peek().is_none() || is_predicted(operation, call)? {
            return Ok(());
        }
        let app = call.path.app()?;
        if operation.deletes_app() {
            // The app's confirmation settings are deleted with the app.
            return self.credentials.check_confirmed(&call.actor, &app, None).await;
        }
        // App-wide operations reach all environments. A hostname may come from `prod` of any app, whatever its new
        // environment; the transfer checks that case.
        let reaches_prod = !operation.is_of_environment() || call.path.environment()? == PlaceName::prod();
        for action in actions.filter(|action| *action != ConfirmedAction::Promote || reaches_prod) {
            self.credentials.check_confirmed(&call.actor, &app, Some(action)).await?;
        }
        Ok(())
    }

    /// Checks the right to unsigned changes in all reached environments with required signatures.
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

    /// Appends an unsigned change to the live logs of all reached environments with required signatures, before the
    /// change: an unrecorded change must not happen.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(super) async fn log_unsigned(&self, operation: &Operation, call: &Call) -> Result<(), Error> {
        // Changes of settings, deletions and restorations move the live pointer and append their own entries.
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

    /// Checks and logs an unsigned change in an environment named by a body, as [`Self::check_confirmed`],
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

    /// Checks and logs a change of a version that may have been replaced: visitors may still have its files, by a pin
    /// or from before a switch, in each environment with the version in its history.
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
        // Logged after all checks: an operation refused by one environment leaves no entry in another.
        for environment in named {
            self.publisher.environments().signing.log_unsigned(actor, (app, &environment), id).await?;
        }
        Ok(())
    }

    /// Returns the environments changed by an operation: the environment of the path, or all environments of the app
    /// with required signatures.
    async fn reached(&self, operation: &Operation, call: &Call, app: &AppName) -> Result<Vec<PlaceName>, Error> {
        match operation.is_of_environment() {
            true => Ok(vec![call.path.environment()?]),
            false => self.publisher.environments().signing.with_signers(app).await,
        }
    }
}

/// Returns true for a dry run.
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
        // Operations on an environment without an effect on visitors.
        let others = ["lock", "unlock", "makeSnapshot", "deleteSnapshot"];
        for row in OPERATIONS.iter().filter(|row| row.method != Method::GET && row.is_of_environment()) {
            assert_eq!(row.effect == Effect::Nothing, others.contains(&row.id), "{}", row.id);
        }
    }

    #[test]
    fn every_change_says_whether_a_session_confirms_it() {
        use ConfirmedAction::{Delete, Promote};
        // Deletions in an app are confirmed, except for returns to the live content, and for changes held back by a
        // lock.
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
        // Changes for visitors are confirmed, whatever other confirmation applies; `finish` was confirmed when its push
        // began.
        let others = [Effect::Nothing, Effect::Continued, Effect::Undone, Effect::Chosen];
        for row in OPERATIONS {
            assert_eq!(row.confirmed_as().any(|one| one == Promote), !others.contains(&row.effect), "{}", row.id);
        }
    }
}
