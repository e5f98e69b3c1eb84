//! Chooses the version of an environment by cookies, and marks responses that depend on the choice.
//!
//! A canary draws visitors (`canary`), and a site may pin visitors to the version of their first page (`pins`). A
//! pinned visitor is not drawn. A response chosen by a cookie belongs to its visitor, and shared caches must not store
//! the response. A fingerprinted asset is the same in all versions, and is cached as usual.

use std::sync::Arc;

use devanture_site::cache::Kept;
use http::HeaderValue;

use super::canary::{LastDraw, draw, is_first_page};
use super::decide::decide_in;
use super::decision::{Decision, FileAnswer, Head};
use super::header_rules::ChosenBy;
use super::pins::{PinCookie, ResolvedPin, Side, held};
use crate::live::{Current, LoadTarget, Place};
use crate::version::{ServedFile, Version};

/// A choice, with cookies for the visitor.
struct Choice<'c> {
    side: Side<'c>,
    gives: Vec<HeaderValue>,
    /// True if the next response can set the cookies as well.
    says_again: bool,
}

/// Decides for an environment with a version chosen by cookies; `last_draw` belongs to the connection.
pub(super) fn decide_chosen(
    head: &Head<'_>,
    current: &Arc<Current>,
    (place, custom_host): (&Place, bool),
    last_draw: &mut LastDraw,
) -> Decision {
    // The usual case: the visitor of the last request again, without a cookie to set.
    if let (Some(canary), None) = (&current.canary, &current.pins)
        && let Some(is_taken) = last_draw.again(head, canary)
    {
        let side = if is_taken { &canary.next } else { current };
        let mut decision = decide_in(head, side, Some(place), custom_host);
        if !is_same_in_all(head, &decision, current) {
            say_chosen(&mut decision, Vec::new());
        }
        return decision;
    }
    let Some(Choice { side, gives, says_again }) = choose(head, current, place, last_draw) else {
        return Decision::Load(LoadTarget::Earlier(place.app.clone(), place.name.clone()));
    };
    if let Side::Earlier(earlier) = &side {
        earlier.version.metrics.count_held();
    }
    let mut decision = decide_in(head, &side, Some(place), custom_host);
    if !(gives.is_empty() || says_again) || !is_same_in_all(head, &decision, current) {
        say_chosen(&mut decision, gives);
    }
    decision
}

/// Records in a decision that a cookie chose its version, and the cookies to set.
#[inline]
fn say_chosen(decision: &mut Decision, gives: Vec<HeaderValue>) {
    match decision {
        // The usual case, without an allocation and with a prepared head.
        Decision::File(answer) if gives.is_empty() && answer.ruled.is_empty() => answer.is_chosen = true,
        Decision::File(FileAnswer { ruled, .. }) | Decision::Proxy { ruled, .. } => ruled.choose(ChosenBy { gives }),
        Decision::Refuse(refusal) => refusal.ruled.choose(ChosenBy { gives }),
        Decision::Small(answer) => answer.ruled.choose(ChosenBy { gives }),
        Decision::Load(_) | Decision::Protected(_) | Decision::Report(_) | Decision::Visitor(_) => {}
    }
}

/// Chooses the version for a visitor; `None` while the pinned earlier version is not loaded.
fn choose<'c>(
    head: &Head<'_>,
    current: &'c Arc<Current>,
    place: &Place,
    last_draw: &mut LastDraw,
) -> Option<Choice<'c>> {
    let pins = current.pins.as_deref();
    let held = match pins {
        Some(pins) => held(head, (current, pins), place)?,
        None => ResolvedPin::default(),
    };
    let (side, visitor) = match (held.side, &current.canary) {
        // A canary with a reduced share takes visitors back, so a pin on the canary is drawn again.
        (Some(Side::Pointed(side)), Some(canary)) if Arc::ptr_eq(side, &canary.next) => drawn(head, current, last_draw),
        (Some(side), _) => (side, None),
        (None, _) => drawn(head, current, last_draw),
    };
    let says_again = visitor.is_none() && matches!(held.gives, PinCookie::Again | PinCookie::Next);
    let pin = pins.filter(|_| match held.gives {
        PinCookie::First => is_first_page(head),
        PinCookie::Again | PinCookie::Next => true,
        PinCookie::Nothing => false,
    });
    let pin = pin.and_then(|pins| pins.cookie(&side.version, (head.now_s)()));
    let gives = match (visitor, pin) {
        // The usual case.
        (None, None) => Vec::new(),
        (visitor, pin) => visitor.into_iter().chain(pin).collect(),
    };
    Some(Choice { side, gives, says_again })
}

/// The version of a visitor without a pin, and the visitor's cookie if new.
fn drawn<'c>(head: &Head<'_>, current: &'c Arc<Current>, last_draw: &mut LastDraw) -> (Side<'c>, Option<HeaderValue>) {
    let Some(canary) = &current.canary else { return (Side::Pointed(current), None) };
    let (is_taken, gives) = draw(head, canary, last_draw);
    (Side::Pointed(if is_taken { &canary.next } else { current }), gives)
}

/// Returns true if all versions of a pointer answer the same: a fingerprinted asset that the versions share, directly
/// or by law 10, with the same fields.
#[inline]
fn is_same_in_all(head: &Head<'_>, decision: &Decision, current: &Current) -> bool {
    let Decision::File(answer) = decision else { return false };
    if answer.kept != Kept::File {
        return false;
    }
    let file = answer.version().file(answer.file).filter(|file| file.fingerprinted);
    file.is_some_and(|file| is_asset_of_all(head, (answer, file), current))
}

fn is_asset_of_all(head: &Head<'_>, (answer, file): (&FileAnswer, &ServedFile), current: &Current) -> bool {
    let version = answer.version();
    // Rules may apply only at the file's own path: the path of a rewrite is unknown here.
    let is_ruled = !answer.ruled.is_empty();
    if is_ruled && head.path.strip_prefix('/') != Some(&*file.path) {
        return false;
    }
    let is_same = |other: &Arc<Version>| {
        // The other version would not answer at all.
        if !other.rules.can_compare(head.path) {
            return false;
        }
        // Compared in both directions: a shared cache must not store a response that another version's rules change or
        // protect.
        if !answer.ruled.is_only(&other.rules.fields(head.host, head.path)) || !version.rules.guards_as(&other.rules) {
            return false;
        }
        let Some(twin) = other.indexes.paths.exact(&file.path).and_then(|number| other.file(number)) else {
            return true;
        };
        match (file.representations.first(), twin.representations.first()) {
            (Some(one), Some(two)) => one.head.is_of_same_bytes(&two.head),
            _ => false,
        }
    };
    current.versions().filter(|other| !Arc::ptr_eq(other, version)).all(is_same)
}
