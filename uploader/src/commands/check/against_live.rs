//! Parts of the live version that a push of the folder would remove, where the settings name an edge.

use devanture_config::Manifest;
use devanture_config::manifest::parts::{self, Parts};
use devanture_config::problem::Code;

use crate::context::Context;
use crate::edge::client::LAST_QUESTION_TIME_MAX;

/// The sentence about them; `None` without an edge, where nothing is live, and where nothing would be lost.
///
/// An edge that does not answer is no mistake of the folder, and ends in a note.
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
