//! Applies the rules of a site to a request, and to the head of the response.

use devanture_site::cache::{self, Kept};
use devanture_site::rules::{Access, FieldChanges, Varies, append_member};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LINK, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::site_request::SiteRequest;

/// Fields that caches of some providers read before `Cache-Control`.
const CDN_CACHE_CONTROLS: [&str; 7] = [
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "edge-control",
    "netlify-cdn-cache-control",
    "surrogate-control",
    "vercel-cdn-cache-control",
    "x-accel-expires",
];

/// Changes of the site's rules to the head of one response. Without changes, no allocation.
#[derive(Debug, Default)]
pub struct HeaderRules(Option<Box<RuledFields>>);

#[derive(Debug, Default)]
struct RuledFields {
    /// Changes by rules; `None` for a response that only a cookie chose.
    by_rules: Option<ByRules>,
    /// Cookies of the choice, if cookies decide.
    chosen_by: Option<ChosenBy>,
}

#[derive(Debug)]
struct ByRules {
    changes: FieldChanges,
    varies: Varies,
    /// True if access is restricted.
    is_private: bool,
    /// True if the file is JavaScript, which a browser may also request as a service worker.
    is_script: bool,
}

/// Marks a response of a version chosen by a cookie: the response belongs to its visitor.
#[derive(Debug)]
pub(super) struct ChosenBy {
    /// Cookies for the visitor.
    pub(super) gives: Vec<HeaderValue>,
}

/// Tells caches that a cookie chose the version.
pub(super) fn say_chosen(headers: &mut HeaderMap) {
    append_member(headers, &VARY, &HeaderValue::from_static("cookie"));
    make_private(headers);
}

impl ChosenBy {
    fn apply(&self, headers: &mut HeaderMap) {
        say_chosen(headers);
        for cookie in &self.gives {
            headers.append(SET_COOKIE, cookie.clone());
        }
    }
}

impl HeaderRules {
    fn new(changes: FieldChanges, varies: Varies, is_private: bool) -> Self {
        // Without a rule, a cache revalidates a stand-in before each use, and need not know the reason of the choice.
        let is_for_some = varies.by_language || varies.by_cookie || is_private;
        match changes.is_empty() && !is_for_some {
            true => Self(None),
            false => {
                let by_rules = Some(ByRules { changes, varies, is_private, is_script: false });
                Self(Some(Box::new(RuledFields { by_rules, chosen_by: None })))
            }
        }
    }

    /// Returns true without any change.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if access to the response is restricted.
    pub(super) fn is_private(&self) -> bool {
        self.by_rules().is_some_and(|ruled| ruled.is_private)
    }

    /// Records the media type of the file, which the head of a 304 lacks.
    pub(super) fn note_type(&mut self, media_type: &[u8]) {
        if let Some(ruled) = self.0.as_mut().and_then(|ruled| ruled.by_rules.as_mut()) {
            ruled.is_script = cache::is_script(media_type);
        }
    }

    /// Returns true if the rules change exactly `fields`, for every visitor alike.
    pub(super) fn is_only(&self, fields: &FieldChanges) -> bool {
        match &self.0 {
            None => fields.is_empty(),
            Some(ruled) => ruled.by_rules.as_ref().is_some_and(|ruled| {
                ruled.changes == *fields && ruled.varies == Varies::default() && !ruled.is_private
            }),
        }
    }

    fn by_rules(&self) -> Option<&ByRules> {
        self.0.as_ref()?.by_rules.as_ref()
    }

    /// Records that a cookie chose the version.
    pub(super) fn choose(&mut self, chosen_by: ChosenBy) {
        self.0.get_or_insert_default().chosen_by = Some(chosen_by);
    }

    /// The `Access-Control-Allow-Origin` of the response.
    pub(super) fn allowed_origin(&self) -> Option<&HeaderValue> {
        self.by_rules()?.changes.set(&ACCESS_CONTROL_ALLOW_ORIGIN)
    }

    /// Applies the changes over the response's own fields.
    pub(super) fn apply(&self, headers: &mut HeaderMap, kept: Kept, status: StatusCode) {
        self.apply_rules(headers, kept, status);
        if kept == Kept::ServiceWorker {
            // For other requests the same file may be cacheable for long (RFC 9110 §12.5.5).
            append_member(headers, &VARY, &HeaderValue::from_static("service-worker"));
        }
        // Last of all, so that no rule lets a shared cache store the response.
        if let Some(chosen_by) = self.0.as_ref().and_then(|ruled| ruled.chosen_by.as_ref()) {
            chosen_by.apply(headers);
        }
    }

    /// Applies the changes to a response of the edge, which is not cacheable and has the type of its own body.
    pub(super) fn apply_to_own(&self, headers: &mut HeaderMap, status: StatusCode) {
        let own_type = headers.get(CONTENT_TYPE).cloned();
        self.apply(headers, Kept::StandIn, status);
        match own_type {
            Some(own_type) => headers.insert(CONTENT_TYPE, own_type),
            None => headers.remove(CONTENT_TYPE),
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    }

    fn apply_rules(&self, headers: &mut HeaderMap, kept: Kept, status: StatusCode) {
        let Some(ruled) = self.by_rules() else {
            // A fingerprinted file already has a lifetime of one year.
            if matches!(kept, Kept::ServiceWorker | Kept::StandIn) {
                shorten(headers, kept);
            }
            return;
        };
        let (offered, unruled) = (headers.get(LINK).cloned(), headers.get(CACHE_CONTROL).cloned());
        ruled.changes.apply(headers);
        if let (Some(offered), Some(link)) = (offered, headers.get(LINK))
            && offered != *link
        {
            // Links of the site stand beside the dictionaries that its pages offer.
            append_member(headers, &LINK, &offered);
        }
        // A response is a page if a rule sets the type of a page.
        let is_page = headers.get(CONTENT_TYPE).is_some_and(|value| cache::is_page("", value.as_bytes()));
        let kept = if kept == Kept::File && is_page { Kept::Page } else { kept };
        let is_called_script = headers.get(CONTENT_TYPE).is_some_and(|value| cache::is_script(value.as_bytes()));
        let may_be_worker = kept == Kept::File && (ruled.is_script || is_called_script) && !ruled.changes.is_empty();
        if status == StatusCode::NOT_MODIFIED {
            // RFC 9110 §15.4.5: fields that describe the content stay with the content.
            headers.remove(CONTENT_TYPE);
        }
        if !ruled.changes.cache_is_forced() || kept == Kept::StandIn {
            if may_be_worker && is_shorter_for_workers(headers, unruled.as_ref()) {
                // A shared cache would answer a worker's update from the copy for other requests (RFC 9110 §12.5.5).
                append_member(headers, &VARY, &HeaderValue::from_static("service-worker"));
            }
            shorten(headers, kept);
        }
        if ruled.varies.by_language {
            // A cookie may also select the language.
            append_member(headers, &VARY, &HeaderValue::from_static("accept-language, cookie"));
        } else if ruled.varies.by_cookie {
            append_member(headers, &VARY, &HeaderValue::from_static("cookie"));
        }
        if ruled.varies.by_navigation {
            append_member(headers, &VARY, &HeaderValue::from_static("accept, sec-fetch-dest, sec-fetch-mode"));
        }
        if ruled.is_private {
            make_private(headers);
        }
    }
}

/// Shortens the lifetime of a response that must not be cached for long, despite any rule.
fn shorten(headers: &mut HeaderMap, kept: Kept) {
    let value = headers.get(CACHE_CONTROL).map(HeaderValue::as_bytes).unwrap_or_default();
    if let Some(instead) = cache::instead_of(value, kept) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(instead));
    }
    if kept != Kept::File {
        forget_cdns(headers);
    }
}

/// Returns true if the rules give a file a longer lifetime than a service worker would get; `unruled` is the
/// `Cache-Control` without rules.
fn is_shorter_for_workers(headers: &HeaderMap, unruled: Option<&HeaderValue>) -> bool {
    let ruled = headers.get(CACHE_CONTROL);
    let value = ruled.map(HeaderValue::as_bytes).unwrap_or_default();
    let is_long = |value: &[u8]| cache::instead_of(value, Kept::ServiceWorker).is_some();
    // The field of nginx is a plain number.
    let is_long_at_cdn = |value: &HeaderValue| match cache::seconds(Some(value.as_bytes())) {
        Some(seconds) => seconds > cache::PAGE_SECONDS_MAX,
        None => is_long(value.as_bytes()),
    };
    ruled != unruled && is_long(value)
        || CDN_CACHE_CONTROLS.iter().filter_map(|name| headers.get(*name)).any(is_long_at_cdn)
}

/// Removes the fields that nginx and other providers' caches would read before `Cache-Control` (RFC 9213).
fn forget_cdns(headers: &mut HeaderMap) {
    for name in CDN_CACHE_CONTROLS {
        headers.remove(name);
    }
}

/// RFC 9111 §3.5: `public` would let a shared cache give restricted content to anybody.
fn make_private(headers: &mut HeaderMap) {
    forget_cdns(headers);
    let value = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kept = value.split(',').map(str::trim).filter(|directive| {
        let name = directive.split('=').next().unwrap_or_default().to_ascii_lowercase();
        !directive.is_empty() && !matches!(name.as_str(), "public" | "private" | "s-maxage")
    });
    let private = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    if let Ok(private) = HeaderValue::from_str(&private) {
        headers.insert(CACHE_CONTROL, private);
    }
}

impl SiteRequest<'_, '_> {
    /// Changes of the rules to the head of the response.
    pub(super) fn ruled(&self, access: Access) -> HeaderRules {
        let changes = self.current.version.rules.fields(self.head.host, self.path);
        HeaderRules::new(changes, self.varies, access == Access::Known)
    }

    /// Changes of the rules to a response that is no file; empty if the request reached no path.
    pub(super) fn ruled_at_path(&self) -> HeaderRules {
        if self.path.is_empty() { HeaderRules::default() } else { self.ruled(Access::Everybody) }
    }

    pub(super) fn ruled_redirect(&self) -> HeaderRules {
        let rules = &self.current.version.rules;
        let changes = match rules.redirects_have_fields {
            true => rules.fields(self.head.host, self.path),
            false => FieldChanges::default(),
        };
        let is_private = rules.has_guards() && self.head.fields.contains(&AUTHORIZATION);
        HeaderRules::new(changes, self.varies, is_private)
    }

    /// Changes of a rewrite to the head of the backend's response.
    pub(super) fn ruled_backend(&self) -> HeaderRules {
        let (rules, authorization) = (&self.current.version.rules, self.field(&AUTHORIZATION));
        let access = rules.access(self.head.host, self.path, authorization.as_deref());
        HeaderRules::new(FieldChanges::default(), self.varies, access == Access::Known)
    }
}
