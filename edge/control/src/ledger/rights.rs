//! Permissions of actors by app and environment, checked by every operation.
//!
//! A token or account may be restricted to one environment of an app. It acts only in that environment, and reads
//! nothing of other environments; app-wide items, for example deleted versions, require a token for every environment.
//! Aliases are in between, see [`Actor::has_alias`].

use devanture_config::api::{By, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use super::{Actor, Error};
use devanture_store::records::AliasRecord;

impl Actor {
    /// Names the credential, for the beginning of a sentence.
    pub(crate) fn shown(&self) -> String {
        match self.credential.by() {
            By::Account => format!("The login of `{}`", self.name),
            By::Local | By::Token => format!("The token `{}`", self.name),
        }
    }

    /// Returns the kind of the credential.
    fn kind(&self) -> &'static str {
        match self.credential.by() {
            By::Account => "account",
            By::Local | By::Token => "token",
        }
    }

    /// Returns the command that creates a credential with the scope. An account's login needs a new scope rather than a
    /// token.
    fn made_by(&self, scope: Scope) -> String {
        match self.credential.by() {
            By::Account => format!("devanture account invite NAME --scope {scope}"),
            By::Local | By::Token => format!("devanture-edge token create --scope {scope}"),
        }
    }

    /// Checks the right to `scope` in an app, and in an environment if given.
    ///
    /// # Errors
    /// `not_found` for an app outside the token, which stays hidden; `forbidden` otherwise.
    pub fn may(&self, scope: Scope, app: &AppName, environment: Option<&PlaceName>) -> Result<(), Error> {
        if self.app.as_ref().is_some_and(|own| own != app) {
            let detail = format!("There is no app {app} for this {}.", self.kind());
            return Err(Problem::new(Code::NotFound, detail)
                .hint("`devanture apps` lists those that there are")
                .into());
        }
        let is_elsewhere = environment.is_some_and(|environment| !self.is_of(environment));
        if is_elsewhere || !self.scope.includes(scope) {
            let place = environment.map_or_else(String::new, |environment| format!(" in {environment}"));
            let detail = format!("{} lacks the scope {scope}{place} of the app {app}.", self.shown());
            let kind = self.kind();
            let hint = match &self.environment {
                Some(own) if is_elsewhere && own.is_preview() && matches!(scope, Scope::Push | Scope::Promote) => {
                    format!(
                        "this {kind} is for previews: `devanture push --alias NAME` makes one, or use one of the app"
                    )
                }
                Some(own) if is_elsewhere => {
                    format!("this {kind} is for {own} alone: pass `--env {own}`, or use one of the whole app")
                }
                _ => format!("another {kind} with the scope {scope} is needed: `{} …`", self.made_by(scope)),
            };
            return Err(Problem::new(Code::Forbidden, detail).hint(hint).into());
        }
        Ok(())
    }

    /// Checks the right to `scope` in every environment of an app, for actions that affect all its hostnames.
    ///
    /// # Errors
    /// As [`Actor::may`]; `forbidden` for a token of one environment.
    pub fn may_everywhere(&self, scope: Scope, app: &AppName) -> Result<(), Error> {
        self.may(scope, app, None)?;
        let Some(environment) = &self.environment else { return Ok(()) };
        let detail = format!("{} is for {environment} alone; this reaches every hostname.", self.shown());
        let hint = format!("use one of the whole app with the scope {scope}");
        Err(Problem::new(Code::Forbidden, detail).hint(hint).into())
    }

    /// Returns true if the actor's environments include the given one.
    pub(crate) fn is_of(&self, environment: &PlaceName) -> bool {
        self.environment.as_ref().is_none_or(|own| own == environment)
    }

    /// Returns true if the actor is an admin of the environment.
    pub(crate) fn is_admin_in(&self, environment: &PlaceName) -> bool {
        self.scope == Scope::Admin && self.is_of(environment)
    }

    /// Returns true if the actor is an admin of every app.
    #[must_use]
    pub fn is_admin_of_all(&self) -> bool {
        self.scope == Scope::Admin && self.app.is_none() && self.environment.is_none()
    }

    /// Checks the scope in every app, for actions on the whole edge.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may_in_every_app(&self, scope: Scope) -> Result<(), Error> {
        if self.scope.includes(scope) && self.app.is_none() && self.environment.is_none() {
            return Ok(());
        }
        let detail = format!("{} lacks the scope {scope} for every app.", self.shown());
        let hint = match self.credential.by() {
            By::Account => format!("use an account of every app: `{} --all-apps`", self.made_by(scope)),
            By::Local | By::Token => {
                format!("use a token without --app and --env: `{} …`", self.made_by(scope))
            }
        };
        Err(Problem::new(Code::Forbidden, detail).hint(hint).into())
    }

    /// Checks that the actor operates the edge.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn must_be_admin(&self) -> Result<(), Error> {
        self.may_in_every_app(Scope::Admin)
    }

    /// Checks the right to compare the live version of an environment. A token for one environment compares its own; a
    /// token with `promote` reads the environments available as sources; a token with `push` for `preview` shows the
    /// changes of a pull request.
    ///
    /// # Errors
    /// As [`Actor::may`].
    pub(crate) fn may_compare(&self, app: &AppName, environment: &PlaceName) -> Result<(), Error> {
        let is_wide = self.scope.includes(Scope::Promote) || self.is_of_previews() && self.scope.includes(Scope::Push);
        self.may(Scope::Read, app, Some(environment).filter(|_| !is_wide))
    }

    /// Returns true if the actor may use aliases of any name: CI has a token for the environment `preview` for
    /// branches.
    pub(crate) fn is_of_previews(&self) -> bool {
        self.environment.as_ref().is_some_and(PlaceName::is_preview)
    }

    /// Checks the right to aliases of the given name, whatever their version; [`Actor::may_move`] then checks the alias
    /// itself.
    ///
    /// # Errors
    /// As [`Actor::may`].
    pub fn may_alias(&self, scope: Scope, app: &AppName, name: &PlaceName) -> Result<(), Error> {
        if self.is_of_previews() { self.may(scope, app, None) } else { self.may(scope, app, Some(name)) }
    }

    /// Returns true for aliases that the actor sees, moves and deletes. A token for one environment has the alias of
    /// the same name; a token for `preview` also has every alias last pointed by a push to `preview`, or by such a
    /// token. An alias set by hand with an app-wide token belongs to the app: no pull request moves that alias.
    pub(crate) fn has_alias(&self, name: &PlaceName, alias: &AliasRecord) -> bool {
        let Some(own) = &self.environment else { return true };
        own == name || own.is_preview() && alias.environment.as_ref() == Some(own)
    }

    /// Checks the right to move or delete an alias; `before` is its present record.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn may_move(&self, name: &PlaceName, before: Option<&AliasRecord>) -> Result<(), Error> {
        let Some(alias) = before.filter(|alias| !self.has_alias(name, alias)) else { return Ok(()) };
        let by = if alias.who.is_empty() { String::new() } else { format!(" by `{}`", alias.who) };
        let detail = format!(
            "The alias {name} was set{by} for the whole app; {} is for previews alone, and leaves it as it is.",
            self.shown().replacen("The", "the", 1)
        );
        Err(Problem::new(Code::Forbidden, detail)
            .hint("choose another name, use a token of the whole app, or have the alias deleted first")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::VersionId;

    use super::*;
    use crate::ledger::Credential;

    /// A token for all apps, one app, or one environment.
    fn token(scope: Scope, place: (Option<&str>, Option<&str>)) -> Actor {
        let (app, environment) = (place.0.map(app), place.1.map(place_of));
        Actor { scope, app, environment, credential: Credential::Token("t1".to_owned()), ..Actor::local() }
    }

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    fn place_of(name: &str) -> PlaceName {
        name.parse().unwrap()
    }

    fn code(result: Result<(), Error>) -> Option<Code> {
        result.err().map(|error| error.0.code)
    }

    const EDGE: (Option<&str>, Option<&str>) = (None, None);
    const SHOP: (Option<&str>, Option<&str>) = (Some("shop"), None);
    const PROD: (Option<&str>, Option<&str>) = (Some("shop"), Some("prod"));
    const PREVIEW: (Option<&str>, Option<&str>) = (Some("shop"), Some("preview"));

    #[test]
    fn a_token_acts_in_its_app_and_its_environment_up_to_its_scope() {
        let (none, forbidden, missing) = (None, Some(Code::Forbidden), Some(Code::NotFound));
        for (own, place, wanted, environment, expected) in [
            (Scope::Push, EDGE, Scope::Push, None, none),
            (Scope::Push, EDGE, Scope::Promote, None, forbidden),
            (Scope::Push, SHOP, Scope::Read, Some("prod"), none),
            (Scope::Push, SHOP, Scope::Push, Some("staging"), none),
            (Scope::Push, SHOP, Scope::Admin, Some("prod"), forbidden),
            (Scope::Admin, PROD, Scope::Admin, Some("prod"), none),
            (Scope::Admin, PROD, Scope::Read, Some("staging"), forbidden),
            (Scope::Push, PROD, Scope::Admin, Some("prod"), forbidden),
            (Scope::Push, PROD, Scope::Push, None, none),
            (Scope::Push, PROD, Scope::Run, Some("prod"), forbidden),
            (Scope::Promote, EDGE, Scope::Run, Some("prod"), forbidden),
            (Scope::Run, PROD, Scope::Run, Some("prod"), none),
            (Scope::Run, PROD, Scope::Read, Some("prod"), none),
            (Scope::Run, PROD, Scope::Push, Some("prod"), forbidden),
            (Scope::Run, PROD, Scope::Run, Some("staging"), forbidden),
            (Scope::Admin, SHOP, Scope::Run, Some("prod"), none),
            (Scope::Admin, (Some("other"), None), Scope::Read, None, missing),
            (Scope::Admin, (Some("other"), Some("prod")), Scope::Read, Some("prod"), missing),
        ] {
            let environment = environment.map(place_of);
            let may = token(own, place).may(wanted, &app("shop"), environment.as_ref());
            assert_eq!(code(may), expected, "{own} {place:?} {wanted} {environment:?}");
        }
    }

    #[test]
    fn what_reaches_every_environment_or_every_app_wants_a_token_for_all_of_them() {
        let shop = app("shop");
        for (scope, place, everywhere, in_every_app) in [
            (Scope::Admin, EDGE, None, None),
            (Scope::Promote, EDGE, Some(Code::Forbidden), Some(Code::Forbidden)),
            (Scope::Admin, SHOP, None, Some(Code::Forbidden)),
            (Scope::Admin, PROD, Some(Code::Forbidden), Some(Code::Forbidden)),
            (Scope::Admin, (Some("other"), None), Some(Code::NotFound), Some(Code::Forbidden)),
            (Scope::Admin, (None, Some("prod")), Some(Code::Forbidden), Some(Code::Forbidden)),
        ] {
            let actor = token(scope, place);
            assert_eq!(code(actor.may_everywhere(Scope::Admin, &shop)), everywhere, "{scope} {place:?}");
            assert_eq!(code(actor.may_in_every_app(Scope::Admin)), in_every_app, "{scope} {place:?}");
            assert_eq!(code(actor.must_be_admin()), in_every_app, "{scope} {place:?}");
            assert_eq!(actor.is_admin_of_all(), in_every_app.is_none(), "{scope} {place:?}");
        }
        assert_eq!(code(token(Scope::Push, EDGE).may_in_every_app(Scope::Push)), None);
        let of = |scope, place| token(scope, place).is_admin_in(&place_of("prod"));
        assert!(of(Scope::Admin, EDGE) && of(Scope::Admin, SHOP) && of(Scope::Admin, PROD));
        assert!(!of(Scope::Admin, PREVIEW) && !of(Scope::Promote, PROD) && !of(Scope::Promote, EDGE));
    }

    #[test]
    fn another_environment_is_compared_by_whom_may_promote_and_by_previews_that_may_push() {
        let prod = place_of("prod");
        let staging = (Some("shop"), Some("staging"));
        for (scope, place, may) in [
            (Scope::Read, SHOP, true),
            (Scope::Read, PROD, true),
            (Scope::Read, staging, false),
            (Scope::Push, staging, false),
            (Scope::Promote, staging, true),
            (Scope::Read, PREVIEW, false),
            (Scope::Push, PREVIEW, true),
            (Scope::Promote, PREVIEW, true),
        ] {
            let compared = token(scope, place).may_compare(&app("shop"), &prod);
            assert_eq!(code(compared), (!may).then_some(Code::Forbidden), "{scope} {place:?}");
        }
    }

    #[test]
    fn an_alias_is_its_environments_or_that_of_the_previews_which_pointed_it_last() {
        let alias = |environment: Option<&str>| AliasRecord {
            version: VersionId::of(b""),
            switched_ms: 0,
            begun: 0,
            who: "ada".to_owned(),
            environment: environment.map(place_of),
            expires_ms: None,
            halves_begun: None,
        };
        let staging = (Some("shop"), Some("staging"));
        for (place, name, of, may_alias, has) in [
            (SHOP, "feature", None, true, true),
            (staging, "staging", None, true, true),
            (staging, "feature", None, false, false),
            (staging, "feature", Some("staging"), false, false),
            (PREVIEW, "preview", None, true, true),
            (PREVIEW, "feature", Some("preview"), true, true),
            (PREVIEW, "feature", Some("staging"), true, false),
            (PREVIEW, "feature", None, true, false),
        ] {
            let (actor, name) = (token(Scope::Push, place), place_of(name));
            let forbidden = |may: bool| (!may).then_some(Code::Forbidden);
            assert_eq!(
                code(actor.may_alias(Scope::Push, &app("shop"), &name)),
                forbidden(may_alias),
                "{place:?} {name}"
            );
            assert_eq!(actor.has_alias(&name, &alias(of)), has, "{place:?} {name} {of:?}");
            assert_eq!(code(actor.may_move(&name, Some(&alias(of)))), forbidden(has), "{place:?} {name} {of:?}");
            assert_eq!(code(actor.may_move(&name, None)), None);
        }
    }
}
