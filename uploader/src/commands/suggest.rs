//! Suggestions for mistyped names of environments and aliases.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::Status;
use devanture_config::parsing::nearest;
use devanture_config::problem::Code;

use crate::args::Command;
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::settings::Source;
use crate::signals::until_signal;

/// Longest wait of a failure for its hint.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Returns the environment or alias of which `typed` is most likely a typo; `None` if the name exists.
pub(crate) async fn place(edge: &Edge, typed: &PlaceName) -> Option<PlaceName> {
    // Of an app, every environment tells all places.
    let status = edge.status_within(&PlaceName::prod(), TIME_MAX).await.ok()?;
    place_among(&status, typed)
}

/// Like [`place`], among the places in `status`.
fn place_among(status: &Status, typed: &PlaceName) -> Option<PlaceName> {
    // If not all are listed, the existence of the name is unknown.
    if typed.is_prod() || status.more_places || status.places.iter().any(|place| place.name == *typed) {
        return None;
    }
    let prod = PlaceName::prod();
    let names = status.places.iter().map(|place| &place.name).chain([&prod]);
    nearest(typed.as_str(), names.map(PlaceName::as_str))?.parse().ok()
}

/// Notes that the requested environment does not exist, if the name may be a typo: a first push may still create the
/// environment, so that the name is not a mistake.
pub(crate) async fn note_new_place(context: &Context, edge: &Edge) {
    if typed_place(context).is_none_or(|typed| typed.is_prod()) {
        return;
    }
    if let Ok(status) = edge.status_within(&PlaceName::prod(), TIME_MAX).await {
        note_place_missing_in(context, &status);
    }
}

/// Like [`note_new_place`], for a caller with a `status` of the app.
pub(crate) fn note_place_missing_in(context: &Context, status: &Status) {
    let Some(typed) = typed_place(context) else { return };
    if let Some(meant) = place_among(status, &typed) {
        context.progress.note(&format!("there is no environment {typed} yet; did you mean {meant}?"));
    }
}

/// Returns the environment named by the user: a default name is not a typo.
fn typed_place(context: &Context) -> Option<PlaceName> {
    let environment = context.settings.environment().ok()?;
    (environment.source != Source::Default).then_some(environment.value)
}

/// Adds to a failure of `command` a suggestion, if the name of an environment or alias may be a typo.
pub(crate) async fn with_hint(context: &Context, command: &Command, failure: Failure) -> Failure {
    if ![Code::NotFound, Code::NoPrevious, Code::NothingLive].iter().any(|code| failure.is(*code)) {
        return failure;
    }
    let typed: Option<PlaceName> = match command {
        Command::Promote(args) => Some(args.from.clone()),
        _ => typed_place(context),
    };
    let (Some(typed), Ok(edge)) = (typed, context.edge()) else { return failure };
    match until_signal(place(&edge, &typed)).await.flatten() {
        Some(meant) => failure.hint(format!("there is no environment \"{typed}\": did you mean \"{meant}\"?")),
        None => failure,
    }
}
