//! Suggestions for mistyped names of environments and aliases.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::parsing::nearest;
use devanture_config::problem::Code;

use crate::args::Command;
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::project::settings::Source;

/// Longest wait of a failure for its hint.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The environment or alias that `typed` is most likely a slip of; `None` if there is one of that name.
pub(crate) async fn place(edge: &Edge, typed: &PlaceName) -> Option<PlaceName> {
    // Of an app, every environment tells all places.
    let status = edge.status_within(&PlaceName::prod(), TIME_MAX).await.ok()?;
    if typed.is_prod() || status.places.iter().any(|place| place.name == *typed) {
        return None;
    }
    let prod = PlaceName::prod();
    let names = status.places.iter().map(|place| &place.name).chain([&prod]);
    nearest(typed.as_str(), names.map(PlaceName::as_str))?.parse().ok()
}

/// Adds to a failure of `command` what may have been meant, where a name of a place may have been a slip.
pub(crate) async fn with_hint(context: &Context, command: &Command, failure: Failure) -> Failure {
    if ![Code::NotFound, Code::NoPrevious, Code::NothingLive].iter().any(|code| failure.is(*code)) {
        return failure;
    }
    let typed: Option<PlaceName> = match command {
        Command::Promote(args) => Some(args.from.clone()),
        // A name that nobody typed is no slip.
        _ => context
            .settings
            .environment()
            .ok()
            .filter(|environment| environment.source != Source::Default)
            .map(|environment| environment.value),
    };
    let (Some(typed), Ok(edge)) = (typed, context.edge()) else { return failure };
    match place(&edge, &typed).await {
        Some(meant) => failure.hint(format!("there is no environment \"{typed}\": did you mean \"{meant}\"?")),
        None => failure,
    }
}
