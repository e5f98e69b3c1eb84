//! Decides the response to a request: synchronous, without I/O, and independent of the protocol.

use std::sync::Arc;

use arc_swap::Guard;
use devanture_config::api::{Pause, ShareTarget};
use devanture_site::cache::Kept;
use devanture_site::decide::{End, Outcome, OwnPath, Untraced};

use super::canary::LastDraw;
use super::chosen::decide_chosen;
use super::decision::{Decision, Head, Refusal, options};
use super::header_rules::HeaderRules;
use super::refused::Refused;
use super::site_request::SiteRequest;
use super::{canonical, cors, pause, status_page, visitor_decision, visitor_login, well_known};
use crate::live::{
    Asset, Current, Found, HiddenPreview, HostEntry, Live, LiveSite, LoadTarget, Place, Preview, PreviewKey,
    Restriction,
};
use crate::version::Setting;
use devanture_base::telemetry;

/// Lookups of one host, shared by the requests of one batch; reset for another host or batch.
#[derive(Default)]
pub(super) enum HostLookupCache {
    /// No lookup yet.
    #[default]
    Nothing,
    /// One lookup, not cached: the request may be the only one, and a host that is no place is looked up each time.
    Once,
    /// The place of the host, its pause, and its live version.
    Place(HostEntry, Option<Arc<Pause>>, Option<Arc<Current>>),
}

/// Decides the response to a request.
#[must_use]
pub fn decide(head: &Head<'_>, live: &Live) -> Decision {
    decide_together(head, live, &mut HostLookupCache::default(), &mut LastDraw::of_one())
}

/// Decides as [`decide`] does. For simultaneous requests to the host of one place, the lookup `seen` by the second
/// request is reused for all later ones. `last_draw` belongs to the same connection.
pub(super) fn decide_together(
    head: &Head<'_>,
    live: &Live,
    seen: &mut HostLookupCache,
    last_draw: &mut LastDraw,
) -> Decision {
    decide_for(head, live, seen, (Visit::AsStranger, last_draw))
}

/// Decides for an admitted visitor, after the lookup.
pub(super) fn decide_admitted(head: &Head<'_>, live: &Live) -> Decision {
    let decision = decide_for(head, live, &mut HostLookupCache::default(), (Visit::Admitted, &mut LastDraw::of_one()));
    Decision::Protected(Box::new(decision))
}

/// Admission of the visitor to protected content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Admitted,
    AsStranger,
}

#[inline]
fn decide_for(
    head: &Head<'_>,
    live: &Live,
    seen: &mut HostLookupCache,
    (visit, last_draw): (Visit, &mut LastDraw),
) -> Decision {
    if let HostLookupCache::Place(entry, paused, current) = seen {
        return decide_at(head, live, entry, (paused.as_ref(), current.as_ref()), (visit, last_draw));
    }
    let is_first = matches!(seen, HostLookupCache::Nothing);
    *seen = HostLookupCache::Once;
    live.find(head.host, |found| match found {
        Found::Nobody => nobody(head, live),
        Found::Hidden(HiddenPreview { restriction, target }) => match visit {
            Visit::AsStranger => protected(head, live, &restriction, target, unknown_host),
            Visit::Admitted => unknown_host(),
        },
        Found::Preview(key) => match live.preview_restriction(&key.app).filter(|_| visit == Visit::AsStranger) {
            Some(restriction) => {
                let target = ShareTarget::Version(key.id);
                protected(head, live, &restriction, target, || decide_version(head, live, key))
            }
            None => decide_version(head, live, key),
        },
        Found::Place(entry) => {
            let (paused, current) = entry.place.look();
            let decision = decide_at(head, live, entry, (paused.as_ref(), current.as_ref()), (visit, last_draw));
            if !is_first {
                *seen = HostLookupCache::Place(entry.clone(), paused, Guard::into_inner(current));
            }
            decision
        }
    })
}

/// Decides for a host that no app has.
#[cold]
fn nobody(head: &Head<'_>, live: &Live) -> Decision {
    match live.domains().is_login(head.host) {
        true => visitor_login::decide_at_login(head),
        false => unknown_host(),
    }
}

fn unknown_host() -> Decision {
    Decision::Refuse(Refused::UnknownHost.into())
}

/// Decides for a version at its own hostname.
fn decide_version(head: &Head<'_>, live: &Live, key: PreviewKey) -> Decision {
    if well_known::is_edges_proof(head.path, head.host, live) {
        return Decision::Refuse(Refused::NotFound.into());
    }
    match live.preview(&key) {
        Some(current) => {
            current.note_use();
            decide_in(head, &current, None, false)
        }
        None => Decision::Load(LoadTarget::Preview(Preview::Version(key))),
    }
}

/// Decides for protected content: for a stranger before any lookup of the content, otherwise by `decide`.
#[cold]
fn protected(
    head: &Head<'_>,
    live: &Live,
    restriction: &Arc<Restriction>,
    target: ShareTarget,
    decide: impl FnOnce() -> Decision,
) -> Decision {
    visitor_decision::decide(head, live, restriction, target).unwrap_or_else(|| Decision::Protected(Box::new(decide())))
}

/// Decides for an environment or alias: a redirect to its canonical hostname, the pause page, or the live version.
fn decide_at(
    head: &Head<'_>,
    live: &Live,
    entry: &HostEntry,
    (paused, current): (Option<&Arc<Pause>>, Option<&Arc<Current>>),
    (visit, last_draw): (Visit, &mut LastDraw),
) -> Decision {
    let place = &*entry.place;
    if current.is_none() && place.is_loading() {
        return Decision::Load(LoadTarget::Environment(place.app.clone(), place.name.clone()));
    }
    let is_edges_proof = well_known::is_edges_proof(head.path, head.host, live);
    // An authority would follow the redirect to the app's canonical hostname.
    if let Some(redirect) = canonical::redirect(head, entry, current, live)
        && !well_known::leads_to_edges_proof(head.path, head.host, live)
    {
        return redirect;
    }
    if visit == Visit::AsStranger
        && let Some(restriction) = place.restriction()
    {
        let admitted = || decide_at(head, live, entry, (paused, current), (Visit::Admitted, last_draw));
        return protected(head, live, &restriction, place.share_target(), admitted);
    }
    if is_edges_proof {
        return Decision::Refuse(Refusal { custom_host: entry.custom, ..Refused::NotFound.into() });
    }
    if let Some(refusal) = paused.and_then(|pause| pause::refusal(head, entry, pause, current)) {
        return Decision::Refuse(refusal);
    }
    match current {
        Some(current) => {
            match place.setting {
                Setting::Environment => place.note_use(),
                Setting::Preview => current.note_use(),
            }
            match current.is_chosen_by_cookies() {
                false => decide_in(head, current, Some(place), entry.custom),
                true => decide_chosen(head, current, (place, entry.custom), last_draw),
            }
        }
        None if place.setting == Setting::Preview => {
            Decision::Load(LoadTarget::Preview(Preview::Alias(place.app.clone(), place.name.clone())))
        }
        // The version was loaded between two reads.
        None if place.current().is_some() => {
            Decision::Load(LoadTarget::Environment(place.app.clone(), place.name.clone()))
        }
        None => Decision::Refuse(Refusal { custom_host: entry.custom, ..Refused::Unavailable.into() }),
    }
}

/// Decides for a known version.
pub(crate) fn decide_in(head: &Head<'_>, current: &Arc<Current>, place: Option<&Place>, custom_host: bool) -> Decision {
    let site = LiveSite { current, place };
    let Outcome { end, path, varies, rule } = devanture_site::decide::decide(&site, head, &mut Untraced);
    let site_request = SiteRequest { head, current, custom_host, path: &path, varies };
    match end {
        End::File { file, status: 200, kept, access } => site_request.file(None, file, kept, access),
        End::File { file, status, access, .. } => site_request.page(file, status, access),
        End::Asset { asset: Asset::Unknown { app, name }, .. } => Decision::Load(LoadTarget::Earlier(app, name)),
        End::Asset { asset: Asset::Of { version, file }, access } => {
            telemetry::count_in_app("devanture_kept_assets_total", version.app.as_str(), &[], 1);
            site_request.file(Some(version), file, Kept::File, access)
        }
        End::Backend { to, path_and_query } => site_request.proxy(to, path_and_query, rule),
        End::Methods => site_request.methods(),
        End::Nothing => site_request.refuse(Refused::NotFound),
        End::Own(OwnPath::Dictionary(sha256)) => site_request.pages_dictionary(&site, sha256),
        End::Own(OwnPath::Status) => status_page::decision(head, current, place, custom_host),
        End::Own(own @ (OwnPath::Env | OwnPath::Integrity | OwnPath::Release | OwnPath::Share)) => {
            well_known::answer(own, head, current, custom_host)
        }
        End::Preflight => cors::preflight(head, current, custom_host)
            .unwrap_or_else(|| options(current, custom_host, HeaderRules::default())),
        End::Redirect { status, location, is_by_site } => site_request.redirect(status, &location, is_by_site),
        End::Refused(refused) => site_request.refuse(refused.into()),
    }
}
