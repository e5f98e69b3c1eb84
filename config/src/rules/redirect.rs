//! One rule that sends a path elsewhere: a redirect, a rewrite, or a page with a status of its own.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::At;
use super::pattern::{Captures, Pattern};
use super::template::{Context, Template};
use crate::heap::HeapBytes;
use crate::site_toml::HostRule;

/// The statuses that a rule may have; those from 300 to 399 redirect, the others answer with the target itself.
pub const STATUSES: [u16; 9] = [200, 301, 302, 303, 307, 308, 404, 410, 451];
/// Characters that must be encoded in a URL; a percent sign stays, since it already belongs to an encoded character.
const UNSAFE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Where it is written.
    pub at: At,
    /// The paths.
    pub from: Pattern,
    /// The required parameters of the query; empty if any query will do. Otherwise the query must hold exactly these.
    pub query: Box<[QueryRule]>,
    /// Where to.
    pub to: Target,
    /// One of [`STATUSES`].
    pub status: u16,
    /// Whether it goes before a file of that path.
    pub force: bool,
    /// The `Host` of requests to a target elsewhere, if the rule says one.
    pub host: Option<HostRule>,
    /// Only for visitors who prefer one of these languages, as tags in lower case; for all where it is empty.
    pub languages: Box<[String]>,
    /// Only for visitors who send one of these cookies; for all where it is empty.
    pub cookies: Box<[String]>,
    /// Has a condition that is never known here, such as the visitor's country: it never applies.
    pub is_unknowable: bool,
    /// Whether a rewrite's target is found as if it had been asked for, redirects of pages included (Cloudflare's
    /// meaning); else the target's own file goes first.
    pub follows_html_handling: bool,
}

impl Redirect {
    /// Whether it sends the visitor to another address.
    #[must_use]
    pub const fn is_redirect(&self) -> bool {
        matches!(self.status, 300..=399)
    }

    /// Whether it is the same for every visitor and every query.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.query.is_empty() && self.languages.is_empty() && self.cookies.is_empty() && !self.is_unknowable
    }

    /// The number of its conditions: what a request is compared with once its path is found to match.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.query.len() + self.languages.len() + self.cookies.len() + usize::from(self.is_unknowable)
    }

    /// The names that its target may use: those of the path and those of the query.
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

/// A parameter that the query must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRule {
    /// Its name, decoded.
    pub name: String,
    /// Its expected value.
    pub value: QueryValue,
}

/// The expected value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryValue {
    /// Anything, captured under this name.
    Capture(String),
    /// Exactly this, decoded.
    Text(String),
}

/// Where a rule leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was written, where that is not its path.
    text: Option<Box<str>>,
    path: Template,
    /// Apart, since most are paths of the same site and nothing else.
    beside: Option<Box<BesidePath>>,
}

/// The parts of a target besides its path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct BesidePath {
    /// `https://host[:port]`, without a final slash; none for a path of the same site.
    origin: Option<Template>,
    query: Option<Template>,
    fragment: Option<Template>,
}

/// Says why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// A URL of a scheme that a redirect must not lead to.
    #[error("`{0}` leads to another scheme than http or https")]
    ForeignScheme(String),
    /// Its host cannot be read.
    #[error("`{0}` names no host that can be read")]
    Host(String),
    /// Neither a path nor a URL.
    #[error("`{0}` is neither a path, which begins with /, nor a URL, which begins with https://")]
    NotAPath(String),
}

/// A target with everything in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// `https://host[:port]`.
    pub origin: Option<String>,
    /// The path, encoded; it begins with one slash alone.
    pub path: String,
    /// The query, without its question mark.
    pub query: Option<String>,
    /// The fragment, without its hash.
    pub fragment: Option<String>,
}

impl Target {
    /// Reads a target in which `:name` stands for what was captured under one of `names`.
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

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_deref().unwrap_or_else(|| self.path.as_str())
    }

    /// `https://host[:port]` as it was written, where it leads to another site.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin_template().map(Template::as_str)
    }

    /// Whether no capture stands in its host, so that the rule leads to one host or stays at its own.
    #[must_use]
    pub fn has_constant_host(&self) -> bool {
        self.origin_template().is_none_or(Template::is_constant)
    }

    /// The number of places for captures in the part that has most of them.
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

    /// Its path, where that is the same for every request.
    #[must_use]
    pub fn constant_path(&self) -> Option<&str> {
        self.path.is_constant().then(|| self.path.as_str())
    }

    /// Puts what was captured, which is decoded, in its place. `None` if a capture would make another host of the
    /// target's than one more label, or the target would be too long.
    ///
    /// Slashes that meet are one slash: a path that begins with two would be another host's (`//evil.example`).
    #[must_use]
    pub fn fill(&self, captures: &Captures<'_>) -> Option<Filled> {
        self.filled(captures, Template::fill)
    }

    /// The same with what was captured as a URL has it: what is encoded there stays as it is.
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
    /// The address to send a visitor to; the query of the request goes along where the target has none of its own.
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

/// An origin as a `Location` has it, in ASCII (RFC 3986 §3.2.2); `None` if its host cannot be read.
///
/// A placeholder takes the place of a whole label, and at least two labels follow it: whatever a path holds, the host
/// stays below the one that was written.
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
        // What only begins with the name of a capture is another one.
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
