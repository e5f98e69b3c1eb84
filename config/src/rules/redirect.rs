//! Rule that maps a path to a target: a redirect, a rewrite, or a page with a custom status.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::At;
use super::pattern::{Captures, Pattern};
use super::template::{Context, Template};
use crate::heap::HeapBytes;
use crate::site_toml::HostRule;

/// Permitted statuses of a rule; statuses from 300 to 399 redirect, other statuses serve the target itself.
pub const STATUSES: [u16; 9] = [200, 301, 302, 303, 307, 308, 404, 410, 451];
/// Characters to encode in a URL; a percent sign stays, as part of an already encoded character.
const UNSAFE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Rule for paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Position in its file.
    pub at: At,
    /// The paths.
    pub from: Pattern,
    /// Required query parameters, matched exactly; any query matches if empty.
    pub query: Box<[QueryRule]>,
    /// Target.
    pub to: Target,
    /// Status out of [`STATUSES`].
    pub status: u16,
    /// True if the rule takes precedence over a file of the path.
    pub force: bool,
    /// `Host` of requests to an external target, if set.
    pub host: Option<HostRule>,
    /// Languages of matching visitors by preference, as tags in lower case; all visitors if empty.
    pub languages: Box<[String]>,
    /// Cookies of matching visitors; all visitors if empty.
    pub cookies: Box<[String]>,
    /// True if a condition is unknown to the edge, such as the visitor's country: the rule never applies.
    pub is_unknowable: bool,
    /// True if a rewrite's target is found like a requested path, including redirects of pages (Cloudflare's meaning);
    /// false if the target's own file comes first.
    pub follows_html_handling: bool,
}

impl Redirect {
    /// Returns true if the visitor is sent to another URL.
    #[must_use]
    pub const fn is_redirect(&self) -> bool {
        matches!(self.status, 300..=399)
    }

    /// Returns true if the rule is the same for every visitor and every query.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.query.is_empty() && self.languages.is_empty() && self.cookies.is_empty() && !self.is_unknowable
    }

    /// Returns the number of conditions compared with a request after a match of its path.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.query.len() + self.languages.len() + self.cookies.len() + usize::from(self.is_unknowable)
    }

    /// Returns the names available to the target: from the path and from the query.
    #[must_use]
    pub fn names<'n>(from: &'n Pattern, query: &'n [QueryRule]) -> Vec<&'n str> {
        let mut names = from.names();
        names.extend(query.iter().filter_map(|rule| match &rule.value {
            QueryValue::Capture(name) => Some(name.as_str()),
            QueryValue::Text(_) => None,
        }));
        names
    }
}

/// Required query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRule {
    /// Name, decoded.
    pub name: String,
    /// Expected value.
    pub value: QueryValue,
}

/// Expected value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryValue {
    /// Any value, captured under this name.
    Capture(String),
    /// Exactly this value, decoded.
    Text(String),
}

/// Target of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Text as written, if different from the path.
    text: Option<Box<str>>,
    path: Template,
    /// Boxed, since most targets are paths of the same site.
    beside: Option<Box<BesidePath>>,
}

/// Parts of a target besides its path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct BesidePath {
    /// `https://host[:port]`, without a final slash; `None` for a path of the same site.
    origin: Option<Template>,
    query: Option<Template>,
    fragment: Option<Template>,
}

/// Error for an invalid target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// The scheme of the URL is forbidden for redirects.
    #[error("`{0}` leads to another scheme than http or https")]
    ForeignScheme(String),
    /// The host is invalid.
    #[error("`{0}` names no host that can be read")]
    Host(String),
    /// Neither a path nor a URL.
    #[error("`{0}` is neither a path, which begins with /, nor a URL, which begins with https://")]
    NotAPath(String),
}

/// Target with all captures filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// `https://host[:port]`.
    pub origin: Option<String>,
    /// Path, encoded; begins with a single slash.
    pub path: String,
    /// Query, without its question mark.
    pub query: Option<String>,
    /// Fragment, without its hash.
    pub fragment: Option<String>,
}

impl Target {
    /// Parses a target, with `:name` as the placeholder of a capture in `names`.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn parse(text: &str, names: &[&str]) -> Result<Self, BadTarget> {
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        let origin_bytes = ["https://", "http://"].into_iter().find(|s| lower.starts_with(s)).map(str::len);
        let (origin, rest) = match origin_bytes {
            Some(scheme) => {
                let end =
                    text.get(scheme..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(text.len(), |at| at + scheme);
                let origin = text.get(..end).unwrap_or_default();
                let ascii = host_in_ascii(origin, scheme, names).ok_or_else(|| BadTarget::Host(text.to_owned()))?;
                (Some(Template::parse(&ascii, names)), text.get(end..).unwrap_or_default())
            }
            None if text.starts_with('/') => (None, text),
            None if has_scheme(text) => return Err(BadTarget::ForeignScheme(text.to_owned())),
            None => return Err(BadTarget::NotAPath(text.to_owned())),
        };
        let (rest, fragment) = split(rest, '#');
        let (path, query) = split(rest, '?');
        let template = |text: &str| Template::parse(&utf8_percent_encode(text, UNSAFE).to_string(), names);
        let path = template(if path.is_empty() { "/" } else { path });
        let beside = BesidePath { origin, query: query.map(template), fragment: fragment.map(template) };
        let beside = (beside != BesidePath::default()).then(|| Box::new(beside));
        Ok(Self { text: (path.as_str() != text).then(|| text.into()), path, beside })
    }

    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_deref().unwrap_or_else(|| self.path.as_str())
    }

    /// Returns `https://host[:port]` as written, for a target on another site.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin_template().map(Template::as_str)
    }

    /// Returns true if the host has no placeholder, so the rule leads to one host or stays at its own.
    #[must_use]
    pub fn has_constant_host(&self) -> bool {
        self.origin_template().is_none_or(Template::is_constant)
    }

    /// Returns the maximum number of placeholders in any part.
    #[must_use]
    pub fn places(&self) -> usize {
        let beside = self.beside.as_deref();
        let others = beside.map(|beside| [&beside.origin, &beside.query, &beside.fragment]).into_iter().flatten();
        let others = others.flatten().map(Template::places).max().unwrap_or(0);
        self.path.places().max(others)
    }

    fn origin_template(&self) -> Option<&Template> {
        self.beside.as_deref()?.origin.as_ref()
    }

    /// Returns the path, if the same for every request.
    #[must_use]
    pub fn constant_path(&self) -> Option<&str> {
        self.path.is_constant().then(|| self.path.as_str())
    }

    /// Fills in the decoded captures. `None` if a capture would change the host by more than a single label, or the
    /// target would be too long.
    ///
    /// Adjacent slashes become one slash: a path with two leading slashes would address another host
    /// (`//evil.example`).
    #[must_use]
    pub fn fill(&self, captures: &Captures<'_>) -> Option<Filled> {
        self.filled(captures, Template::fill)
    }

    /// Fills in captures from a URL; encoded characters stay unchanged.
    #[must_use]
    pub fn fill_encoded(&self, captures: &Captures<'_>) -> Option<Filled> {
        self.filled(captures, Template::fill_encoded)
    }

    fn filled(
        &self,
        captures: &Captures<'_>,
        fill: fn(&Template, &Captures<'_>, Context) -> Option<String>,
    ) -> Option<Filled> {
        let origin = match self.origin_template() {
            Some(origin) if origin.is_constant() => Some(origin.as_str().to_owned()),
            Some(origin) => {
                let is_label =
                    |value: &str| !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if !captures.iter().all(|(name, value)| !origin.uses(name) || is_label(value)) {
                    return None;
                }
                Some(fill(origin, captures, Context::Path)?)
            }
            None => None,
        };
        let filled = |part: Option<&Template>| match part {
            Some(part) => fill(part, captures, Context::Query).map(Some),
            None => Some(None),
        };
        let beside = self.beside.as_deref();
        let query = filled(beside.and_then(|beside| beside.query.as_ref()))?;
        let fragment = filled(beside.and_then(|beside| beside.fragment.as_ref()))?;
        let path = with_single_slashes(&fill(&self.path, captures, Context::Path)?);
        Some(Filled { origin, path, query, fragment })
    }
}

impl HeapBytes for Redirect {
    fn heap_bytes(&self) -> usize {
        let conditions = self.query.heap_bytes() + self.languages.heap_bytes() + self.cookies.heap_bytes();
        let host = match &self.host {
            Some(HostRule::Name(name)) => name.heap_bytes(),
            Some(HostRule::Keep | HostRule::Target) | None => 0,
        };
        self.from.heap_bytes() + self.to.heap_bytes() + conditions + host
    }
}

impl HeapBytes for QueryRule {
    fn heap_bytes(&self) -> usize {
        let (QueryValue::Capture(value) | QueryValue::Text(value)) = &self.value;
        self.name.heap_bytes() + value.heap_bytes()
    }
}

impl HeapBytes for Target {
    fn heap_bytes(&self) -> usize {
        self.text.heap_bytes() + self.path.heap_bytes() + self.beside.heap_bytes()
    }
}

impl HeapBytes for BesidePath {
    fn heap_bytes(&self) -> usize {
        self.origin.heap_bytes() + self.query.heap_bytes() + self.fragment.heap_bytes()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Filled {
    /// Returns the URL for the visitor, with the query of the request if the target has no query of its own.
    #[must_use]
    pub fn location(&self, request_query: Option<&str>) -> String {
        let mut location = self.origin.clone().unwrap_or_default();
        location.push_str(&self.path);
        if let Some(query) = self.query.as_deref().or(request_query) {
            location.push('?');
            location.push_str(query);
        }
        if let Some(fragment) = &self.fragment {
            location.push('#');
            location.push_str(fragment);
        }
        location
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn with_single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for character in path.chars() {
        if !(character == '/' && single.ends_with('/')) {
            single.push(character);
        }
    }
    single
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Returns an origin in the form of `Location`, in ASCII (RFC 3986 §3.2.2); `None` for an invalid host.
///
/// A placeholder stands for a whole label, followed by at least two labels: for any path, the host stays below the
/// written host.
fn host_in_ascii(origin: &str, scheme_bytes: usize, names: &[&str]) -> Option<String> {
    let authority = origin.get(scheme_bytes..)?;
    if authority.contains(['@', '\\', '%']) {
        return None;
    }
    let host = Template::parse(authority, names);
    if host.is_constant() {
        let url = url::Url::parse(&format!("{origin}/")).ok()?;
        return Some(url.origin().ascii_serialization());
    }
    let labels: Vec<&str> = authority.split('.').collect();
    let is_free = |label: &str| !Template::parse(label, names).is_constant();
    let last_free = labels.iter().rposition(|label| is_free(label))?;
    let are_whole =
        labels.iter().all(|label| !is_free(label) || label.strip_prefix(':').is_some_and(|name| names.contains(&name)));
    let sample: Vec<&str> = labels.iter().map(|label| if is_free(label) { "x" } else { label }).collect();
    url::Url::parse(&format!("https://{}/", sample.join("."))).ok()?;
    (are_whole && authority.is_ascii() && labels.len() >= last_free + 3).then(|| origin.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(to: &str, captures: &Captures<'_>, query: Option<&str>) -> Option<String> {
        let names: Vec<&str> = captures.iter().map(|(name, _)| *name).collect();
        Some(Target::parse(to, &names).unwrap().fill(captures)?.location(query))
    }

    #[test]
    fn a_target_is_filled_and_takes_the_requests_query_where_it_has_none() {
        let captures = vec![("splat", "a b/c"), ("id", "7")];
        for (to, query, expected) in [
            ("/new/:splat", None, "/new/a%20b/c"),
            ("/new/:splat", Some("x=1"), "/new/a%20b/c?x=1"),
            ("/new?id=:id", Some("x=1"), "/new?id=7"),
            ("/new#part", Some("x=1"), "/new?x=1#part"),
            ("/n w/ü", None, "/n%20w/%C3%BC"),
            ("https://example.org", None, "https://example.org/"),
            ("https://example.org:8443/:id?q#f", Some("x"), "https://example.org:8443/7?q#f"),
            ("https://:id.example.org/", None, "https://7.example.org/"),
            ("https://b\u{fc}cher.example/a", None, "https://xn--bcher-kva.example/a"),
        ] {
            assert_eq!(location(to, &captures, query).as_deref(), Some(expected), "{to}");
        }
    }

    #[test]
    fn no_capture_makes_another_host() {
        for (to, splat) in [("/:splat", "/evil.example"), ("/:splat", "evil"), (":splat", "x")] {
            let Ok(target) = Target::parse(to, &["splat"]) else { continue };
            let filled = target.fill(&vec![("splat", splat)]).unwrap().location(None);
            assert!(!filled.starts_with("//") && !filled.contains('\\'), "{filled}");
        }
        assert_eq!(location("https://:h.example.org/x", &vec![("h", "evil.example")], None), None);
        // A longer name that begins with a capture's name is a different name.
        let both = vec![("h", "a.b"), ("host", "x")];
        assert_eq!(location("https://:host.example.org/:h", &both, None).unwrap(), "https://x.example.org/a.b");
        for to in ["https://:h/x", "https://example.co:h/x", "https://:h.org/x", "https://x:h.example.org/"] {
            assert!(matches!(Target::parse(to, &["h"]), Err(BadTarget::Host(_))), "{to}");
        }
        assert_eq!(location("/x/:splat", &vec![("splat", "\\evil")], None).unwrap(), "/x/%5Cevil");
    }

    #[test]
    fn what_is_encoded_stays_so_and_makes_no_other_host() {
        for (to, splat, expected) in [
            (
                "https://git.example/projects/:splat",
                "group%2Fproject/",
                "https://git.example/projects/group%2Fproject/",
            ),
            ("https://git.example/?p=:splat", "a%26b&c%2B", "https://git.example/?p=a%26b%26c%2B"),
            ("/:splat", "%2F%2fevil.example", "/%2F%2fevil.example"),
            ("/:splat", "%5cevil.example", "/%5cevil.example"),
            ("/:splat", "//evil.example\\", "/evil.example%5C"),
        ] {
            let target = Target::parse(to, &["splat"]).unwrap();
            let filled = target.fill_encoded(&vec![("splat", splat)]).unwrap().location(None);
            assert_eq!(filled, expected, "{to} {splat}");
        }
        let label = Target::parse("https://:h.example.org/", &["h"]).unwrap();
        assert_eq!(label.fill_encoded(&vec![("h", "evil%2Eexample%2F")]), None);
    }

    #[test]
    fn what_is_no_target_is_distinguished() {
        let bad = |text: &str| Target::parse(text, &[]).unwrap_err();
        assert!(matches!(bad("javascript:alert(1)"), BadTarget::ForeignScheme(_)));
        assert!(matches!(bad("ftp://x/"), BadTarget::ForeignScheme(_)));
        assert!(matches!(bad("new"), BadTarget::NotAPath(_)));
        assert!(matches!(bad("https://"), BadTarget::Host(_)));
        assert!(matches!(bad("https://user@evil.example/"), BadTarget::Host(_)));
        assert!(matches!(bad("https://good.example\\@evil.example/"), BadTarget::Host(_)));
    }
}
