//! Confirmations of sessions: changes of an app that require a confirmation, and their common check.

use devanture_config::AppName;
use devanture_config::api::{Confirmations, ConfirmedAction};
use devanture_config::problem::{Code, Problem};

use super::{Actor, Error};
use devanture_store::catalog::Catalog;
use devanture_store::records;
use devanture_store::records::sessions::{ConfirmationsRecord, confirmations_key};

/// Returns the confirmation settings of an app.
///
/// # Errors
/// Errors of the catalog.
pub(crate) async fn confirmations(catalog: &dyn Catalog, app: &AppName) -> Result<Confirmations, Error> {
    let key = confirmations_key(app);
    let record = catalog.get(&key).await?;
    let set = record.map(|record| records::read::<ConfirmationsRecord>(&key, &record)).transpose()?;
    Ok(set.unwrap_or_default().into())
}

/// Checks that a session was confirmed, if the app requires confirmation of `action`, or of any action if `None`.
///
/// # Errors
/// `confirmation_required`.
pub(crate) async fn check_confirmed(
    catalog: &dyn Catalog,
    actor: &Actor,
    app: &AppName,
    action: Option<ConfirmedAction>,
) -> Result<(), Error> {
    if !actor.unconfirmed {
        return Ok(());
    }
    let set = confirmations(catalog, app).await?.confirm;
    let is_wanted = action.map_or(!set.is_empty(), |action| set.contains(&action));
    if is_wanted { Err(confirmation_required().into()) } else { Ok(()) }
}

/// Returns the problem of an unconfirmed session.
pub(crate) fn confirmation_required() -> Problem {
    Problem::new(Code::ConfirmationRequired, "The session has to be confirmed before this.")
        .hint("`POST /v1/session/confirm` takes the password or a passkey of its account, or its token")
}
