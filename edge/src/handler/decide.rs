//! Decides the answer to a request: synchronous, without I/O, and independent of the protocol.

use std::sync::Arc;

use arc_swap::Guard;
use devanture_config::api::Pause;
use devanture_site::answers::OwnPath;
use devanture_site::resolve::{self, Resolution};
use devanture_site::rules::Access;
use devanture_site::target::{self, Target};
use http::{Method as HttpMethod, StatusCode};

use super::decision::{Decision, Head, ProxyTo, Refusal, RouteId, SmallAnswer, options, refuse, with_query};
use super::header_rules::HeaderRules;
use super::refused::Refused;
use super::site_request::SiteRequest;
use super::{canonical, cors, pause, well_known};
use crate::live::{Current, Found, HostEntry, Live, Place, Preview};
use crate::version::Setting;

/// Look-ups of one host, shared by requests of one batch; for another host, or another batch, it begins
/// again.
#[derive(Default)]
pub(super) enum Seen {
    /// Nobody has asked.
    #[default]
    Nothing,
    /// Somebody has, and nothing is kept: it may be the only request, and a host that is no place is looked up each
    /// time.
    Once,
    /// Where the host leads, how that is paused, and what is live there.
    Place(HostEntry, Option<Arc<Pause>>, Option<Arc<Current>>),
}

/// Decides what a request is answered with.
#[must_use]
pub fn decide(head: &Head<'_>, live: &Live) -> Decision {
    decide_together(head, live, &mut Seen::default())
}

/// Decides as [`decide`] does; of requests for the host of a place that come at one moment, what was `seen` for the
/// second counts for all that follow.
pub(super) fn decide_together(head: &Head<'_>, live: &Live, seen: &mut Seen) -> Decision {
    if let Seen::Place(entry, paused, current) = seen {
        return decide_at(head, live, entry, paused.as_ref(), current.as_ref());
    }
    let is_first = matches!(seen, Seen::Nothing);
    *seen = Seen::Once;
    live.find(head.host, |found| match found {
        Found::Nobody => Decision::Refuse(Refused::UnknownHost.into()),
        Found::Preview(key) => match live.preview(&key) {
            Some(current) => {
                current.note_use();
                decide_in(head, &current, None, false)
            }
            None => Decision::Load(Preview::Version(key)),
        },
        Found::Place(entry) => {
            let (paused, current) = entry.place.look();
            let decision = decide_at(head, live, entry, paused.as_ref(), current.as_ref());
            if !is_first {
                *seen = Seen::Place(entry.clone(), paused, Guard::into_inner(current));
            }
            decision
        }
    })
}

/// Decides for an environment or alias: where it has another hostname, what it says while it is paused, else by what is
/// live there.
fn decide_at(
    head: &Head<'_>,
    live: &Live,
    entry: &HostEntry,
    paused: Option<&Arc<Pause>>,
    current: Option<&Arc<Current>>,
) -> Decision {
    if let Some(redirect) = canonical::redirect(head, entry, current, live) {
        return redirect;
    }
    if let Some(refusal) = paused.and_then(|pause| pause::refusal(head, entry, pause, current)) {
        return Decision::Refuse(refusal);
    }
    let place = &*entry.place;
    match current {
        Some(current) => {
            if place.setting == Setting::Preview {
                current.note_use();
            }
            decide_in(head, current, Some(place), entry.custom)
        }
        None if place.setting == Setting::Preview => {
            Decision::Load(Preview::Alias(place.app.clone(), place.name.clone()))
        }
        None => Decision::Refuse(Refusal { custom_host: entry.custom, ..Refused::Unavailable.into() }),
    }
}

/// Decides for a version that is known.
pub(crate) fn decide_in(head: &Head<'_>, current: &Arc<Current>, place: Option<&Place>, custom_host: bool) -> Decision {
    // Only OPTIONS can be a preflight; all else is decided where it is wanted, and not moved.
    if *head.method != HttpMethod::OPTIONS {
        return decide_by(head, current, place, custom_host);
    }
    let decision = decide_by(head, current, place, custom_host);
    cors::preflight(head, &decision).unwrap_or(decision)
}

/// Decides by what a path is: one of the edge's own, then a route's, then a file's.
fn decide_by(head: &Head<'_>, current: &Arc<Current>, place: Option<&Place>, custom_host: bool) -> Decision {
    match *head.method {
        // RFC 9110 §9.3.6: the edge is no proxy that a client chooses; a tunnel has no path that a route could match.
        HttpMethod::CONNECT => return refuse(current, custom_host, Refused::MethodNotAllowed),
        // RFC 9110 §9.3.7: about the server as a whole.
        HttpMethod::OPTIONS if head.path == "*" => return options(current, custom_host),
        _ => {}
    }
    if let Some(path) = OwnPath::of(head.path) {
        let asked = SiteRequest::new(head, current, place, custom_host, head.path);
        // What a site keeps from strangers, it keeps here too.
        return match asked.access(head.path) {
            Access::Refused => asked.refuse(Refused::Unauthorised),
            Access::Everybody | Access::Known => match path {
                OwnPath::Dictionary(sha256) => asked.pages_dictionary(sha256),
                OwnPath::Env | OwnPath::Release => well_known::answer(path, head, current, custom_host),
            },
        };
    }
    if let Some(decision) = route(head, current, custom_host) {
        return decision;
    }
    let straight = current.version.straight.file(head.path).filter(|_| head.path.len() <= head.target_bytes_max);
    if straight.is_some() {
        return SiteRequest { straight, ..SiteRequest::new(head, current, place, custom_host, head.path) }.decide();
    }
    let path = match target::normalise(head.path, head.target_bytes_max) {
        Target::Normal(path) => path,
        Target::Redirect(to) => return moved(head, current, place, custom_host, to),
        Target::Refuse(error) => return refuse(current, custom_host, error.into()),
    };
    SiteRequest::new(head, current, place, custom_host, &path).decide()
}

/// A path that belongs to a route is never answered by a file or a fallback, whatever its spelling (law 9).
fn route(head: &Head<'_>, current: &Arc<Current>, custom_host: bool) -> Option<Decision> {
    let version = &current.version;
    if version.routes.is_empty() {
        return None;
    }
    match target::normalise_for_route(head.path, head.target_bytes_max) {
        Target::Normal(text) => {
            let route = version.route(&text)?;
            // RFC 9110 §9.3.8: what a backend would send back holds fields that a script may not read.
            if *head.method == HttpMethod::TRACE {
                return Some(refuse(current, custom_host, Refused::MethodUnknown));
            }
            let to = ProxyTo { number: RouteId::Route(route), path_and_query: None, host: None };
            let ruled = HeaderRules::default();
            Some(Decision::Proxy { current: Arc::clone(current), to, ruled, custom_host })
        }
        // Dot segments and doubled slashes mean one thing here and another in a backend: only the normal form goes on.
        Target::Redirect(to) => match target::normalise_for_route(&to, head.target_bytes_max) {
            Target::Normal(text) if version.route(&text).is_some() => {
                Some(redirect(head, current, custom_host, StatusCode::PERMANENT_REDIRECT, to))
            }
            _ => None,
        },
        Target::Refuse(error) => Some(refuse(current, custom_host, error.into())),
    }
}

/// Redirects to the normal form `to`; where that would be redirected in its turn, by a rule or to a page's place, to
/// there at once, and only for now, since the next version may have it elsewhere.
fn moved(head: &Head<'_>, current: &Arc<Current>, place: Option<&Place>, custom_host: bool, to: String) -> Decision {
    let version = &current.version;
    let place = match target::normalise(&to, to.len()) {
        Target::Normal(path) if version.route(&path).is_none() => {
            let asked = SiteRequest::new(head, current, place, custom_host, &path);
            if let Some(decision) = asked.redirected_by_rule() {
                return decision;
            }
            match resolve::resolve(&version.index, version.html_handling, &path) {
                Resolution::Redirect(place) => Some(target::encode_path(&place)),
                Resolution::File(_) | Resolution::Missing => None,
            }
        }
        // A normal form is normal; a route's answer is its backend's.
        _ => None,
    };
    let (status, to) = match place {
        Some(place) => (StatusCode::TEMPORARY_REDIRECT, place),
        None => (StatusCode::PERMANENT_REDIRECT, to),
    };
    redirect(head, current, custom_host, status, to)
}

fn redirect(
    head: &Head<'_>,
    current: &Arc<Current>,
    custom_host: bool,
    status: StatusCode,
    location: String,
) -> Decision {
    let location = with_query(location, head.query);
    let current = Some(Arc::clone(current));
    SmallAnswer { current, custom_host, ..SmallAnswer::redirect(status, &location) }.into()
}
