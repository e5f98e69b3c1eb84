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

/// The environment or alias that `typed` is most likely a slip of; `None` if there is one of that name.
pub(crate) async fn place(edge: &Edge, typed: &PlaceName) -> Option<PlaceName> {
    // Of an app, every environment tells all places.
    let status = edge.status_within(&PlaceName::prod(), TIME_MAX).await.ok()?;
    place_among(&status, typed)
}

/// The same, of the places that `status` lists.
fn place_among(status: &Status, typed: &PlaceName) -> Option<PlaceName> {
    // Where not all are listed, whether it is there is not known.
    if typed.is_prod() || status.more_places || status.places.iter().any(|place| place.name == *typed) {
        return None;
    }
    let prod = PlaceName::prod();
    let names = status.places.iter().map(|place| &place.name).chain([&prod]);
    nearest(typed.as_str(), names.map(PlaceName::as_str))?.parse().ok()
}

/// Notes that there is no environment of the requested name, if it may be a slip: a first push may yet create it, so
/// that it is no mistake.
pub(crate) async fn note_new_place(context: &Context, edge: &Edge) {
    if typed_place(context).is_none_or(|typed| typed.is_prod()) {
        return;
    }
    if let Ok(status) = edge.status_within(&PlaceName::prod(), TIME_MAX).await {
        note_place_missing_in(context, &status);
    }
}

/// The same, where a `status` of the app is at hand.
pub(crate) fn note_place_missing_in(context: &Context, status: &Status) {
    let Some(typed) = typed_place(context) else { return };
    if let Some(meant) = place_among(status, &typed) {
        context.progress.note(&format!("there is no environment {typed} yet; did you mean {meant}?"));
    }
}

/// The environment that somebody named: a name that nobody typed is no slip.
fn typed_place(context: &Context) -> Option<PlaceName> {
    let environment = context.settings.environment().ok()?;
    (environment.source != Source::Default).then_some(environment.value)
}

/// Adds to a failure of `command` what may have been meant, where a name of a place may have been a slip.
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
