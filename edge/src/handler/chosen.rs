//! Which of the versions of an environment a request gets, where cookies decide, and what its answer says about that.
//!
//! A canary draws visitors (`canary`), and a site may hold them on the version of their first page (`pins`). Who is held
//! is drawn no more. What was chosen by a cookie is no other visitor's: shared caches are not to keep it. A fingerprinted
//! asset is the same in all versions, and is cached as usual.

use std::sync::Arc;

use devanture_site::cache::Kept;
use http::HeaderValue;

use super::canary::{draw, is_first_page};
use super::decide::decide_in;
use super::decision::{Decision, FileAnswer, Head};
use super::header_rules::ChosenBy;
use super::pins::{Gives, Held, Side, held};
use crate::live::{Current, LoadTarget, Place};
use crate::version::Version;

/// A choice, with cookies for the visitor.
struct Choice<'c> {
    side: Side<'c>,
    gives: Vec<HeaderValue>,
    /// Whether they only say once more what the visitor has.
    says_again: bool,
}

/// Decides for an environment where cookies decide which version answers.
pub(super) fn decide_chosen(head: &Head<'_>, current: &Arc<Current>, (place, custom_host): (&Place, bool)) -> Decision {
    let Some(Choice { side, gives, says_again }) = choose(head, current, place) else {
        return Decision::Load(LoadTarget::Earlier(place.app.clone(), place.name.clone()));
    };
    let mut decision = decide_in(head, &side, Some(place), custom_host);
    if (gives.is_empty() || says_again) && is_same_in_all(head, &decision, current) {
        return decision;
    }
    match &mut decision {
        // As mostly: nothing is allocated for it, and its head is prepared.
        Decision::File(answer) if gives.is_empty() && answer.ruled.is_empty() => answer.is_chosen = true,
        Decision::File(FileAnswer { ruled, .. }) | Decision::Proxy { ruled, .. } => ruled.choose(ChosenBy { gives }),
        Decision::Refuse(refusal) => refusal.ruled.choose(ChosenBy { gives }),
        Decision::Small(answer) => answer.ruled.choose(ChosenBy { gives }),
        Decision::Load(_) | Decision::Protected(_) | Decision::Report(_) | Decision::Visitor(_) => {}
    }
    decision
}

/// Chooses the version for a visitor; `None` while an earlier one that may be it is not loaded.
fn choose<'c>(head: &Head<'_>, current: &'c Arc<Current>, place: &Place) -> Option<Choice<'c>> {
    let pins = current.pins.as_deref();
    let held = match pins {
        Some(pins) => held(head, (current, pins), place)?,
        None => Held::default(),
    };
    let (side, visitor) = match (held.side, &current.canary) {
        // Of a canary that got a smaller share, they are taken back.
        (Some(Side::Pointed(side)), Some(canary)) if Arc::ptr_eq(side, &canary.next) => drawn(head, current),
        (Some(side), _) => (side, None),
        (None, _) => drawn(head, current),
    };
    let says_again = visitor.is_none() && held.gives == Gives::Again;
    let pin = pins.filter(|_| match held.gives {
        Gives::First => is_first_page(head),
        Gives::Again => true,
        Gives::Nothing => false,
    });
    let pin = pin.and_then(|pins| pins.cookie(&side.version, (head.now_s)()));
    let gives = match (visitor, pin) {
        // As mostly.
        (None, None) => Vec::new(),
        (visitor, pin) => visitor.into_iter().chain(pin).collect(),
    };
    Some(Choice { side, gives, says_again })
}

/// The version of a visitor who is not held, and the visitor's cookie where it is new.
fn drawn<'c>(head: &Head<'_>, current: &'c Arc<Current>) -> (Side<'c>, Option<HeaderValue>) {
    let Some(canary) = &current.canary else { return (Side::Pointed(current), None) };
    let (is_taken, gives) = draw(head, canary);
    (Side::Pointed(if is_taken { &canary.next } else { current }), gives)
}

/// Whether all versions that a pointer names answer with the same: a fingerprinted asset that they have as well, or by
/// law 10, with the same fields.
fn is_same_in_all(head: &Head<'_>, decision: &Decision, current: &Current) -> bool {
    let Decision::File(answer) = decision else { return false };
    let version = answer.version();
    let Some(file) = version.file(answer.file) else { return false };
    if !file.fingerprinted || answer.kept != Kept::File {
        return false;
    }
    // At its own path, without a rewrite: which one it came by is not known here.
    let is_ruled = !answer.ruled.is_empty();
    if is_ruled && head.path.strip_prefix('/') != Some(&*file.path) {
        return false;
    }
    let is_same = |other: &Arc<Version>| {
        if is_ruled && !answer.ruled.is_only(&other.rules.fields(head.host, head.path)) {
            return false;
        }
        let Some(twin) = other.index.exact(&file.path).and_then(|number| other.file(number)) else { return true };
        match (file.representations.first(), twin.representations.first()) {
            (Some(one), Some(two)) => one.head.etag().as_str() == two.head.etag().as_str(),
            _ => false,
        }
    };
    current.versions().filter(|other| !Arc::ptr_eq(other, version)).all(is_same)
}
