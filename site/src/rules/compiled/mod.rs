//! The compiled rules of a version: which redirect a path has, which fields its answer gets, who may see it.

mod cache_rules;
mod fields;
mod index;

pub use cache_rules::Keeping;
pub use fields::{FieldChanges, append_member};

use devanture_config::heap::HeapBytes;
use devanture_config::rules::redirect::Filled;
use devanture_config::rules::{HeaderRule, Pattern, Redirect};

use super::RuleSet;
use super::access::Users;
use super::query::{parameters, query_matches};
use super::visitor::Visitor;
use index::PatternIndex;

/// Request properties that an answer depends on besides its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Varies {
    /// `Accept-Language`, and the cookie that says a language.
    pub by_language: bool,
    /// `Cookie`.
    pub by_cookie: bool,
}

/// The redirect or rewrite that a request has, if it has one.
#[derive(Debug, Default)]
pub struct Matched<'r> {
    /// The rule, with what it captured in its place.
    pub rule: Option<(&'r Redirect, Filled)>,
    /// Its dependencies.
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
    /// Whether any of them keeps a path from strangers.
    guards: bool,
    /// Whether redirects get fields by rules too.
    pub redirects_have_fields: bool,
}

impl CompiledRules {
    /// Makes rules ready.
    #[must_use]
    pub fn new(rules: RuleSet) -> Self {
        let RuleSet { redirects, headers, redirects_have_fields } = rules;
        let field_rule = |rule: HeaderRule| FieldRule {
            changes: fields::Changes::new(&rule),
            users: Users::new(&rule.users),
            path: rule.path,
        };
        let field_rules: Box<[FieldRule]> = headers.into_iter().map(field_rule).collect();
        Self {
            redirect_index: PatternIndex::new(redirects.iter().map(|rule| &rule.from)),
            redirects: redirects.into(),
            field_index: PatternIndex::new(field_rules.iter().map(|rule| &rule.path)),
            guards: field_rules.iter().any(|rule| !rule.users.is_empty()),
            field_rules,
            redirects_have_fields,
        }
    }

    /// Whether there is any redirect or rewrite.
    #[must_use]
    pub fn has_redirects(&self) -> bool {
        !self.redirects.is_empty()
    }

    /// The first redirect or rewrite that applies to `path`, which is normal and decoded.
    #[must_use]
    pub fn redirect(&self, visitor: &Visitor<'_>, path: &str) -> Matched<'_> {
        let mut matched = Matched::default();
        let mut first = u32::MAX;
        let mut sent = None;
        let mut tastes = None;
        self.redirect_index.visit(path, &mut |number| {
            if number >= first {
                return;
            }
            let Some(rule) = at(&self.redirects, number) else { return };
            let Some(mut captures) = rule.from.matches(visitor.host, path) else { return };
            if rule.is_unknowable {
                return;
            }
            let parameters = match rule.query.is_empty() {
                true => &[],
                false => sent.get_or_insert_with(|| parameters(visitor.query)).as_slice(),
            };
            if !query_matches(&rule.query, parameters, &mut captures) {
                return;
            }
            matched.varies.by_language |= !rule.languages.is_empty();
            matched.varies.by_cookie |= !rule.cookies.is_empty();
            let asked = (rule.languages.is_empty() && rule.cookies.is_empty())
                || tastes.get_or_insert_with(|| visitor.tastes()).suit(&rule.languages, &rule.cookies);
            if let (true, Some(filled)) = (asked, rule.to.fill(&captures)) {
                first = number;
                matched.rule = Some((rule, filled));
            }
        });
        matched
    }

    /// Changes by the rules to the head of the answer to `path`.
    #[must_use]
    #[inline]
    pub fn fields(&self, host: &str, path: &str) -> FieldChanges {
        match self.field_rules.is_empty() {
            true => FieldChanges::default(),
            false => self.changed_fields(host, path),
        }
    }

    fn changed_fields(&self, host: &str, path: &str) -> FieldChanges {
        let mut changes = FieldChanges::default();
        let mut numbers: Vec<u32> = Vec::with_capacity(8);
        self.field_index.visit(path, &mut |number| numbers.push(number));
        numbers.sort_unstable();
        for number in numbers {
            if let Some(rule) = at(&self.field_rules, number)
                && let Some(captures) = rule.path.matches(host, path)
            {
                changes.add(&rule.changes, &captures);
            }
        }
        changes
    }

    /// Whether any path is kept from strangers.
    #[must_use]
    pub const fn has_guards(&self) -> bool {
        self.guards
    }

    /// Who may see `path`; [`Access::Everybody`] where no rule keeps it from anybody.
    #[must_use]
    pub fn access(&self, host: &str, path: &str, authorization: Option<&[u8]>) -> Access {
        if !self.guards {
            return Access::Everybody;
        }
        let (mut guarded, mut held) = (false, true);
        self.field_index.visit(path, &mut |number| {
            let Some(rule) = at(&self.field_rules, number).filter(|rule| !rule.users.is_empty()) else { return };
            if rule.path.matches(host, path).is_some() {
                guarded = true;
                held &= rule.users.hold(authorization);
            }
        });
        match (guarded, held) {
            (false, _) => Access::Everybody,
            (true, true) => Access::Known,
            (true, false) => Access::Refused,
        }
    }
}

impl HeapBytes for CompiledRules {
    fn heap_bytes(&self) -> usize {
        let redirects = self.redirects.heap_bytes() + self.redirect_index.heap_bytes();
        redirects + self.field_rules.heap_bytes() + self.field_index.heap_bytes()
    }
}

impl HeapBytes for FieldRule {
    fn heap_bytes(&self) -> usize {
        self.path.heap_bytes() + self.changes.heap_bytes() + self.users.heap_bytes()
    }
}

/// Whether somebody may see a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Anybody may.
    Everybody,
    /// This visitor may.
    Known,
    /// This visitor may not.
    Refused,
}

fn at<T>(list: &[T], number: u32) -> Option<&T> {
    list.get(usize::try_from(number).ok()?)
}
