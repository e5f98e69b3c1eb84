//! Logins of people at the provider of the edge, stored in the state folder: one file for each edge and CA, with a
//! token for each app and environment of a login.

use devanture_config::api::{Exchanged, Secret};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use super::session_store::Store;
use super::token_life::{is_worth_showing, now_s};
use crate::output::exit::Failure;
use crate::settings::{EdgeAccess, PersonAccess, no_token};

/// Upper bound of stored logins of one edge.
const LOGINS_MAX: usize = 50;

/// A login for one app and environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PersonLogin {
    /// The id of the token.
    pub(crate) id: String,
    /// The token.
    pub(crate) token: Secret,
    app: Option<AppName>,
    environment: Option<PlaceName>,
    /// End of the login, in seconds since 1970 UTC.
    expires_s: u64,
}

impl PersonLogin {
    /// Creates a new login.
    pub(crate) fn of(exchanged: &Exchanged) -> Self {
        Self {
            id: exchanged.id.clone(),
            token: exchanged.token.clone(),
            app: exchanged.app.clone(),
            environment: exchanged.environment.clone(),
            expires_s: now_s().saturating_add(exchanged.expires_in_s),
        }
    }

    fn is_good(&self) -> bool {
        is_worth_showing(&self.token, self.expires_s, None)
    }

    fn place_text(&self) -> String {
        place_text(self.app.as_ref(), self.environment.as_ref())
    }

    fn is_for(&self, person: &PersonAccess) -> bool {
        let is_of_app = self.app.is_none() || person.app.is_none() || self.app == person.app;
        let environments = (&self.environment, &person.environment);
        is_of_app && (environments.0.is_none() || environments.1.is_none() || environments.0 == environments.1)
    }
}

/// Returns the app and environment as part of a sentence.
pub(crate) fn place_text(app: Option<&AppName>, environment: Option<&PlaceName>) -> String {
    match (app, environment) {
        (Some(app), Some(environment)) => format!("{environment} of {app}"),
        (Some(app), None) => app.to_string(),
        (None, _) => "every app".to_owned(),
    }
}

/// Returns the stored login for the app and environment of the settings: the most specific login, else a wider one.
pub(crate) fn current(access: &EdgeAccess, person: &PersonAccess) -> Option<PersonLogin> {
    let good = logins(access, person).into_iter().filter(|login| login.is_good() && login.is_for(person));
    good.max_by_key(|login| (login.app == person.app, login.environment == person.environment))
}

/// Returns the failure of a command without a login, including stored logins for the same edge elsewhere.
pub(crate) fn missing(access: &EdgeAccess, person: &PersonAccess) -> Failure {
    let (good, ended): (Vec<_>, Vec<_>) = logins(access, person).into_iter().partition(PersonLogin::is_good);
    let again = |place: Option<&PlaceName>| {
        let environment = place.map_or_else(String::new, |name| format!(" --env {name}"));
        format!("`devanture login --oidc{environment}`")
    };
    let edge = access.url.as_str().trim_end_matches('/');
    if let Some(ended) = ended.iter().rfind(|login| login.is_for(person)) {
        let message = format!("The login to {} at {edge} has ended.", ended.place_text());
        let hint = format!("{} begins another one", again(person.environment.as_ref().or(ended.environment.as_ref())));
        return Failure::new(Code::Unauthenticated, message).hint(hint);
    }
    let Some(last) = good.last() else { return no_token() };
    let mut places: Vec<String> = good.iter().map(PersonLogin::place_text).collect();
    places.dedup();
    let wanted = place_text(person.app.as_ref(), person.environment.as_ref());
    let message = format!("At {edge} there is a login to {}, and none to {wanted}.", places.join(", "));
    let to_other = match (&last.app, &last.environment) {
        (app, Some(environment)) if *app == person.app => format!("; `--env {environment}` uses the one that is there"),
        (Some(app), None) => format!("; `--app {app}` uses the one that is there"),
        _ => String::new(),
    };
    let hint = format!("{} logs in there, too{to_other}", again(person.environment.as_ref()));
    Failure::new(Code::Unauthenticated, message).hint(hint)
}

/// Returns the note of a logout without a login, if there are stored logins for the same edge elsewhere.
pub(crate) fn others(access: &EdgeAccess, person: &PersonAccess) -> Option<String> {
    let mut places: Vec<String> =
        logins(access, person).iter().filter(|login| login.is_good()).map(PersonLogin::place_text).collect();
    places.dedup();
    let wanted = place_text(person.app.as_ref(), person.environment.as_ref());
    let text =
        || format!("the login to {} stays, and is not to {wanted}: --app and --env choose one", places.join(", "));
    (!places.is_empty()).then(text)
}

/// Stores a login in place of an earlier one for the same app and environment. Returns true if stored, and the earlier
/// login.
pub(crate) async fn keep(
    access: &EdgeAccess,
    person: &PersonAccess,
    login: PersonLogin,
) -> (bool, Option<PersonLogin>) {
    let Some(store) = Store::of_person(access, person) else { return (false, None) };
    // Of two concurrent commands, the second begins with the result of the first.
    let _alone = store.lock().await;
    let place = |login: &PersonLogin| (login.app.clone(), login.environment.clone());
    let (before, mut others): (Vec<_>, Vec<_>) = logins(access, person)
        .into_iter()
        .filter(PersonLogin::is_good)
        .partition(|other| place(other) == place(&login));
    others.push(login);
    let surplus = others.len().saturating_sub(LOGINS_MAX);
    others.drain(..surplus);
    (store.write(&others), before.into_iter().next())
}

/// Stores a login no more.
pub(crate) async fn forget(access: &EdgeAccess, person: &PersonAccess, id: &str) {
    let Some(store) = Store::of_person(access, person) else { return };
    let _alone = store.lock().await;
    let mut others = logins(access, person);
    others.retain(|login| login.id != id && login.is_good());
    if others.is_empty() {
        store.remove();
    } else {
        store.write(&others);
    }
}

fn logins(access: &EdgeAccess, person: &PersonAccess) -> Vec<PersonLogin> {
    Store::of_person(access, person).and_then(|store| store.read()).unwrap_or_default()
}
