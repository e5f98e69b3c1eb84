//! The compiled rules of a version: the redirect of a path, the fields of its response, and its access.

mod cache_rules;
mod fields;
mod index;
mod taken;

pub use cache_rules::Keeping;
pub use fields::{FieldChanges, append_member};

use std::borrow::Cow;

use blake3::Hash;
use devanture_config::heap::HeapBytes;
use devanture_config::rules::pattern::Captures;
use devanture_config::rules::redirect::Filled;
use devanture_config::rules::{HeaderRule, Pattern, Redirect};

use super::RuleSet;
use super::access::{Sent, Users};
use super::query::{QueryParameter, parameters, query_matches};
use super::visitor::{Tastes, Visitor};
use crate::sent_path::SentPath;
use fields::{FieldNumbers, Removed};
use index::PatternIndex;
use taken::{PatternMatch, takes_somewhere};

/// Maximum targets filled for one request in index order, and then as many in the order of the rules, if all but the
/// last fail to make an address: beyond, no rule applies. Filling takes time by the length of the captures, and a
/// hundred rules may match one path.
const FILLS_MAX: u32 = 32;

/// Longest path compared with patterns in which `*` or `:name` is a part of a segment, in bytes: a longer path is
/// refused on a site with such patterns, and never served past the rules.
const EXPRESSION_PATH_BYTES_MAX: usize = 2_048;

/// Request properties that a response depends on besides its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Varies {
    /// `Accept-Language`, and the cookie that sets a language.
    pub by_language: bool,
    /// `Cookie`.
    pub by_cookie: bool,
    /// `Accept`, `Sec-Fetch-Dest` and `Sec-Fetch-Mode`: whether a page is wanted.
    pub by_navigation: bool,
}

impl Varies {
    /// Adds the dependencies of another part of the decision.
    pub(crate) const fn join(&mut self, other: Self) {
        self.by_language |= other.by_language;
        self.by_cookie |= other.by_cookie;
        self.by_navigation |= other.by_navigation;
    }
}

/// Reason that a redirect or rewrite is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// A file exists, and precedes the rule.
    File,
    /// The rule leads to the requested address.
    LeadsHere,
    /// The captures make no address.
    NoAddress,
    /// The target is no valid path.
    NoPath,
    /// The rule is for another host.
    OtherHost,
    /// The rule is for another path.
    OtherPath,
    /// The rule is for another query.
    OtherQuery,
    /// The rule is for another language or cookie.
    OtherVisitor,
    /// The rule answers navigations, and the request is none.
    PagesAlone,
    /// The target is not declared by the site.
    Undeclared,
    /// The rule depends on a fact that no edge ever knows.
    Unknowable,
    /// The rule depends on an unknown visitor: the outcome differs between visitors.
    UnknownVisitor,
}

/// The redirect or rewrite of a request, if any.
#[derive(Debug, Default)]
pub struct Matched<'r> {
    /// The rule and its number, with the captures inserted.
    pub rule: Option<(u32, &'r Redirect, Filled)>,
    /// The dependencies.
    pub varies: Varies,
}

/// The rules of one path pattern.
#[derive(Debug)]
struct FieldRule {
    path: Pattern,
    changes: fields::Changes,
    users: Users,
}

/// The rules of one version in one environment.
#[derive(Debug, Default)]
pub struct CompiledRules {
    redirects: Box<[Redirect]>,
    redirect_index: PatternIndex,
    field_rules: Box<[FieldRule]>,
    field_index: PatternIndex,
    /// The numbers of the rules that protect paths: a request checks only these, under every name of a file.
    guard_numbers: Box<[u32]>,
    guard_index: PatternIndex,
    /// The hash of the protecting rules, if any.
    guards: Option<Hash>,
    /// True if any pattern matches a part of a segment; excluding hosts, whose patterns do not depend on the path.
    has_expressions: bool,
    /// True if rules also change the fields of redirects.
    pub redirects_have_fields: bool,
}

impl CompiledRules {
    /// Compiles rules.
    #[must_use]
    pub fn new(rules: RuleSet) -> Self {
        let RuleSet { redirects, headers, redirects_have_fields } = rules;
        let mut numbers = FieldNumbers::default();
        let field_rule = |rule: HeaderRule| FieldRule {
            changes: fields::Changes::new(&rule, &mut numbers),
            users: Users::new(&rule.users),
            path: rule.path,
        };
        let field_rules: Box<[FieldRule]> = headers.into_iter().map(field_rule).collect();
        let mut patterns = redirects.iter().map(|rule| &rule.from).chain(field_rules.iter().map(|rule| &rule.path));
        Self {
            has_expressions: patterns.any(Pattern::takes_parts),
            redirect_index: PatternIndex::new(redirects.iter().map(|rule| &rule.from)),
            redirects: redirects.into(),
            field_index: PatternIndex::new(field_rules.iter().map(|rule| &rule.path)),
            guard_index: PatternIndex::new(guards_of(&field_rules).map(|(_, rule)| &rule.path)),
            guard_numbers: guards_of(&field_rules).map(|(number, _)| number).collect(),
            guards: guards(&field_rules),
            field_rules,
            redirects_have_fields,
        }
    }

    /// Returns true if the normalized, decoded `path` is short enough to compare with the rules.
    #[must_use]
    #[inline]
    pub const fn can_compare(&self, path: &str) -> bool {
        !self.has_expressions || path.len() <= EXPRESSION_PATH_BYTES_MAX
    }

    /// Returns true if any redirect or rewrite exists.
    #[must_use]
    pub fn has_redirects(&self) -> bool {
        !self.redirects.is_empty()
    }

    /// The redirect or rewrite of the number.
    #[must_use]
    pub fn redirect_at(&self, number: u32) -> Option<&Redirect> {
        at(&self.redirects, number)
    }

    /// The first redirect or rewrite that applies to the normalized, decoded `path`.
    ///
    /// With a callback `skipped`, rules are tried in their order, and otherwise in the order of the index.
    #[must_use]
    pub fn redirect(
        &self,
        visitor: &Visitor<'_>,
        path: &str,
        skipped: Option<&mut dyn FnMut(u32, Skip)>,
    ) -> Matched<'_> {
        let mut search = Search::new(visitor, path);
        if let Some(skipped) = skipped {
            search.explains = true;
            return self.redirect_in_order(&mut search, skipped);
        }
        self.redirect_as_found(&mut search)
    }

    /// The first redirect or rewrite for a path as sent: captured parts stay encoded.
    #[must_use]
    pub fn redirect_as_sent(&self, visitor: &Visitor<'_>, sent: &SentPath<'_>) -> Matched<'_> {
        self.redirect_as_found(&mut Search { sent: Some(sent), ..Search::new(visitor, sent.text()) })
    }

    fn redirect_as_found(&self, search: &mut Search<'_, '_>) -> Matched<'_> {
        let mut matched = Matched::default();
        self.redirect_index.visit(search.path, &mut |number| {
            let _ = self.consider(number, search, &mut matched);
        });
        if search.fills < FILLS_MAX {
            return matched;
        }
        // So many rules match the path that filling only the first rule's target is cheaper.
        search.fills = 0;
        self.redirect_in_order(search, &mut |_, _| {})
    }

    /// The first redirect or rewrite in the order of the rules: no rule after the first that applies is tried.
    fn redirect_in_order(&self, search: &mut Search<'_, '_>, skipped: &mut dyn FnMut(u32, Skip)) -> Matched<'_> {
        let mut matched = Matched::default();
        let mut numbers = Vec::new();
        self.redirect_index.visit(search.path, &mut |number| numbers.push(number));
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            if let Some(skip) = self.consider(number, search, &mut matched) {
                skipped(number, skip);
            }
        }
        matched
    }

    /// Stores the rule of the number as the match, if the rule applies and precedes the present match; otherwise
    /// returns the reason of the skip.
    fn consider<'s>(&'s self, number: u32, search: &mut Search<'_, '_>, matched: &mut Matched<'s>) -> Option<Skip> {
        let is_found = matched.rule.as_ref().is_some_and(|(first, _, _)| *first <= number);
        if is_found || search.fills >= FILLS_MAX {
            return None;
        }
        let rule = at(&self.redirects, number)?;
        match search.applies(rule, &mut matched.varies) {
            Ok(filled) => {
                matched.rule = Some((number, rule, filled));
                None
            }
            Err(skip) => Some(skip),
        }
    }

    /// Changes of the rules to the head of the response to `path`.
    #[must_use]
    #[inline]
    pub fn fields(&self, host: &str, path: &str) -> FieldChanges {
        match self.field_rules.is_empty() {
            true => FieldChanges::default(),
            false => self.changed_fields(host, path),
        }
    }

    fn changed_fields(&self, host: &str, path: &str) -> FieldChanges {
        let (mut changes, mut removed) = (FieldChanges::default(), Removed::default());
        let mut numbers: Vec<u32> = Vec::with_capacity(8);
        self.field_index.visit(path, &mut |number| numbers.push(number));
        numbers.sort_unstable();
        for number in numbers {
            if let Some(rule) = at(&self.field_rules, number)
                && let Some(mut taken) = PatternMatch::of(&rule.path, rule.changes.have_places(), host, path)
            {
                changes.add(&rule.changes, &mut taken, &mut removed);
            }
        }
        changes
    }

    /// Returns true if any path is protected.
    #[must_use]
    pub const fn has_guards(&self) -> bool {
        self.guards.is_some()
    }

    /// Returns true if both sets of rules protect the same paths with the same users.
    #[must_use]
    pub fn guards_as(&self, other: &Self) -> bool {
        self.guards == other.guards
    }

    /// The access to `path`; [`Access::Everybody`] without a protecting rule, and refused for a path too long to
    /// compare: a file of another version, or a file's name, which is some bytes longer than its path.
    #[must_use]
    pub fn access(&self, host: &str, path: &str, authorization: Option<&[u8]>) -> Access {
        if self.guards.is_none() {
            return Access::Everybody;
        }
        if self.has_expressions && path.len() > 2 * EXPRESSION_PATH_BYTES_MAX {
            return Access::Refused;
        }
        let (mut guarded, mut held) = (false, true);
        let sent = Sent::of(authorization);
        self.guard_index.visit(path, &mut |number| {
            let number = at(&self.guard_numbers, number).copied();
            let Some(rule) = number.and_then(|number| at(&self.field_rules, number)) else { return };
            if PatternMatch::of(&rule.path, false, host, path).is_some() {
                guarded = true;
                held &= rule.users.hold(sent.as_ref());
            }
        });
        match (guarded, held) {
            (false, _) => Access::Everybody,
            (true, true) => Access::Known,
            (true, false) => Access::Refused,
        }
    }
}

/// The rules that protect paths, with their numbers.
fn guards_of(rules: &[FieldRule]) -> impl Iterator<Item = (u32, &FieldRule)> {
    (0..).zip(rules).filter(|(_, rule)| !rule.users.is_empty())
}

/// The hash of the rules that protect paths, in their order.
fn guards(rules: &[FieldRule]) -> Option<Hash> {
    let mut hasher = blake3::Hasher::new();
    for (_, rule) in guards_of(rules) {
        let text = rule.path.as_str().as_bytes();
        hasher.update(&text.len().to_le_bytes()).update(text);
        hasher.update(&[u8::from(rule.path.is_tolerant()), u8::from(rule.path.folds())]);
        rule.users.feed(&mut hasher);
    }
    (hasher.count() > 0).then(|| hasher.finalize())
}

impl HeapBytes for CompiledRules {
    fn heap_bytes(&self) -> usize {
        let redirects = self.redirects.heap_bytes() + self.redirect_index.heap_bytes();
        let guards = self.guard_numbers.heap_bytes() + self.guard_index.heap_bytes();
        redirects + self.field_rules.heap_bytes() + self.field_index.heap_bytes() + guards
    }
}

impl HeapBytes for FieldRule {
    fn heap_bytes(&self) -> usize {
        self.path.heap_bytes() + self.changes.heap_bytes() + self.users.heap_bytes()
    }
}

/// The search for the redirect or rewrite of one request, with the parsed parts of the request.
struct Search<'a, 'v> {
    visitor: &'a Visitor<'v>,
    path: &'a str,
    /// The path as sent, if forwarded as sent.
    sent: Option<&'a SentPath<'a>>,
    explains: bool,
    parameters: Option<Vec<QueryParameter<'v>>>,
    tastes: Option<Tastes<'v>>,
    /// Targets filled, or failed to fill.
    fills: u32,
}

impl<'a, 'v> Search<'a, 'v> {
    const fn new(visitor: &'a Visitor<'v>, path: &'a str) -> Self {
        Self { visitor, path, sent: None, explains: false, parameters: None, tastes: None, fills: 0 }
    }

    /// The captures of `rule`, inserted into its target, if the rule applies.
    fn applies(&mut self, rule: &Redirect, varies: &mut Varies) -> Result<Filled, Skip> {
        let (visitor, path, sent) = (self.visitor, self.path, self.sent);
        // For an unknown visitor: any host of the rule.
        let host = visitor.host.unwrap_or_else(|| host_of(rule));
        let Some(mut taken) = PatternMatch::of(&rule.from, rule.to.places() > 0, host, path) else {
            // The path is compared again only for an explanation.
            let is_elsewhere = self.explains && rule.from.has_host() && takes_somewhere(&rule.from, path);
            return Err(if is_elsewhere { Skip::OtherHost } else { Skip::OtherPath });
        };
        if rule.is_unknowable {
            return Err(Skip::Unknowable);
        }
        let parameters = match rule.query.is_empty() {
            true => &[],
            false => self.parameters.get_or_insert_with(|| parameters(visitor.query)).as_slice(),
        };
        let mut of_query = Captures::new();
        if !query_matches(&rule.query, parameters, &mut of_query) {
            return Err(Skip::OtherQuery);
        }
        varies.by_language |= !rule.languages.is_empty();
        varies.by_cookie |= !rule.cookies.is_empty();
        let has_tastes = !rule.languages.is_empty() || !rule.cookies.is_empty();
        if visitor.host.is_none() && (has_tastes || rule.from.has_host()) {
            return Err(Skip::UnknownVisitor);
        }
        if has_tastes && !self.tastes.get_or_insert_with(|| visitor.tastes()).suit(&rule.languages, &rule.cookies) {
            return Err(Skip::OtherVisitor);
        }
        self.fills = self.fills.saturating_add(1);
        let captures = taken.captures();
        let of_path = captures.len();
        captures.append(&mut of_query);
        let filled = match sent.is_none() && rule.query.is_empty() {
            true => rule.to.fill(captures),
            false => fill_encoded(rule, captures, of_path, sent),
        };
        filled.ok_or(Skip::NoAddress)
    }
}

/// Fills the target of a rule with captures, encoded as in a URL. The first `of_path` captures are of the path, or of
/// the host, which is never encoded; captures of the query are already encoded.
fn fill_encoded(
    rule: &Redirect,
    captures: &Captures<'_>,
    of_path: usize,
    sent: Option<&SentPath<'_>>,
) -> Option<Filled> {
    let mut values: Vec<Cow<'_, str>> = Vec::with_capacity(captures.len());
    for (at, (_, value)) in captures.iter().enumerate() {
        let as_sent = if at < of_path { sent.and_then(|sent| sent.sent_for(value)) } else { Some(*value) };
        values.push(as_sent.map_or_else(|| Cow::Owned(value.replace('%', "%25")), Cow::Borrowed));
    }
    let encoded: Captures<'_> = captures.iter().zip(&values).map(|((name, _), value)| (*name, &**value)).collect();
    rule.to.fill_encoded(&encoded)
}

/// The literal part of a rule's host.
fn host_of(rule: &Redirect) -> &str {
    let text = rule.from.as_str();
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Access to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Unrestricted.
    Everybody,
    /// Granted to the visitor.
    Known,
    /// Refused to the visitor.
    Refused,
}

fn at<T>(list: &[T], number: u32) -> Option<&T> {
    list.get(usize::try_from(number).ok()?)
}
