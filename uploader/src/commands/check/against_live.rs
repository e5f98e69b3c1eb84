//! Parts of the live version that a push of the folder would remove, if the settings name an edge.

use devanture_config::Manifest;
use devanture_config::manifest::parts::{self, Parts};
use devanture_config::problem::Code;

use crate::context::Context;
use crate::edge::client::LAST_QUESTION_TIME_MAX;

/// Returns the sentence about these parts; `None` without an edge, without a live version, and without a loss.
///
/// An edge without an answer is not a mistake of the folder, and is only noted.
pub(super) async fn lost_parts(context: &Context, manifest: &Manifest) -> Option<String> {
    let (edge, place) = (context.edge().ok()?, context.place().ok()?);
    match edge.status_within(&place, LAST_QUESTION_TIME_MAX).await {
        Ok(status) => {
            let lost = status.parts?.lost(&Parts::of(manifest, place.as_str()));
            (!lost.is_empty()).then(|| parts::lost_text(place.as_str(), &lost))
        }
        Err(failure) if failure.is(Code::NotFound) => None,
        Err(failure) => {
            context.progress.note(&format!("what is live in {place} was not compared: {}", failure.message));
            None
        }
    }
}
