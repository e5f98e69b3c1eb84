//! Checks of requests to make a version live: version ids and reason.

use devanture_config::problem::{Code, Problem};
use devanture_config::{BadIdPrefix, IdPrefix};

use crate::ledger::Error;

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// Checks that a text has the form of a version id, before any upload.
///
/// # Errors
/// `bad_request`.
pub fn check_if_live(typed: &str) -> Result<(), Error> {
    check_typed("if_live", typed)
}

/// Checks that the text of a field has the form of a version id.
///
/// # Errors
/// `bad_request`.
pub(crate) fn check_typed(field: &str, typed: &str) -> Result<(), Error> {
    let wrong = |error: BadIdPrefix| Problem::new(Code::BadRequest, format!("`{field}`: {error}."));
    Ok(typed.parse::<IdPrefix>().map(|_fine| ()).map_err(wrong)?)
}

/// Checks the reason given by a user.
///
/// # Errors
/// `bad_request`.
pub(crate) fn check_reason(reason: Option<&str>) -> Result<(), Error> {
    let Some(reason) = reason else { return Ok(()) };
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        let detail = format!("The reason has more than {REASON_CHARACTERS_MAX} characters.");
        return Err(Problem::new(Code::BadRequest, detail).hint("say it shorter").into());
    }
    // The reason is shown in terminals, on one line.
    if reason.chars().any(char::is_control) {
        return Err(Problem::new(Code::BadRequest, "The reason holds a control character.")
            .hint("leave it out")
            .into());
    }
    Ok(())
}
