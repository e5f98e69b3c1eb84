//! Patterns in which `*` or `:name` is only a part of a segment or host: compiled to regular expressions.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

use super::{
    BadPattern, Captures, Dialect, EXPRESSION_BYTES_MAX, EXPRESSION_STARS_MAX, SPLAT, decoded, is_name, next_name,
};
use crate::heap::{HeapBytes, allocated};

/// Most memory that one such pattern may take when it is compiled, in bytes.
const REGEX_BYTES_MAX: usize = 512 * 1024;
/// Most memory for the state that each thread caches while it matches one, in bytes.
const MATCHING_BYTES_MAX: usize = 256 * 1024;
/// Estimated size of a compiled expression with the caches of two threads: a base, and more for each byte of its
/// source.
const COMPILED_BYTES: usize = 32 * 1024;
const COMPILED_BYTES_BY_BYTE: usize = 128;

/// A pattern matched by the crate `regex`, compiled at its first use: rules beyond a limit never are.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    source: Box<str>,
    names: Box<[Box<str>]>,
    folds: bool,
    regex: OnceLock<Option<Regex>>,
}

impl Expression {
    /// A whole path.
    pub(super) fn of_path(path: &str, dialect: Dialect) -> Result<Self, BadPattern> {
        let mut source = String::from("^");
        let mut names: Vec<Box<str>> = Vec::new();
        if dialect == Dialect::NetlifyHeaders {
            let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            for segment in segments {
                match segment.strip_prefix(':').filter(|name| is_name(name)) {
                    Some(name) => source.push_str(&format!("/{}", group(name, "[^/]+", &mut names))),
                    // A segment of its own may also be absent.
                    None if segment == "*" => source.push_str(&format!("(?:/{})?", group(SPLAT, ".*", &mut names))),
                    None => {
                        source.push('/');
                        let texts: Vec<String> = segment
                            .split('*')
                            .map(|text| decoded(text).map(|text| regex::escape(&text)))
                            .collect::<Result<_, _>>()?;
                        source.push_str(&texts.join(".*"));
                    }
                }
            }
            source.push_str("/?");
        } else {
            cloudflare(path, &mut source, &mut names)?;
        }
        source.push('$');
        made(path, &source, names, dialect == Dialect::NetlifyHeaders)
    }

    /// A host, in which a name takes one label.
    pub(super) fn of_host(host: &str) -> Result<Self, BadPattern> {
        let (mut source, mut names) = (String::from("^"), Vec::new());
        cloudflare(host, &mut source, &mut names)?;
        source.push('$');
        made(host, &source.replace("[^/]+", "[^/.]+"), names, true)
    }

    /// The names that it captures.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Adds what it captures of `text`; `None` if it does not match.
    pub(super) fn capture<'a>(&'a self, text: &'a str, captures: &mut Captures<'a>) -> Option<()> {
        let found = self.regex.get_or_init(|| self.compiled()).as_ref()?.captures(text)?;
        for name in &self.names {
            captures.push((name, found.name(name).map_or("", |found| found.as_str())));
        }
        Some(())
    }

    fn compiled(&self) -> Option<Regex> {
        let mut builder = RegexBuilder::new(&self.source);
        builder.case_insensitive(self.folds).dot_matches_new_line(true).size_limit(REGEX_BYTES_MAX);
        builder.dfa_size_limit(MATCHING_BYTES_MAX);
        builder.build().ok()
    }
}

impl HeapBytes for Expression {
    fn heap_bytes(&self) -> usize {
        let compiled = COMPILED_BYTES + COMPILED_BYTES_BY_BYTE * self.source.len();
        self.source.heap_bytes() + self.names.heap_bytes() + allocated(compiled)
    }
}

/// Cloudflare's form, for a path or a host: `*` takes anything, `:name` everything up to the next divider.
fn cloudflare(text: &str, source: &mut String, names: &mut Vec<Box<str>>) -> Result<(), BadPattern> {
    let mut rest = text;
    loop {
        let name = next_name(rest);
        let star = rest.find('*');
        let (at, length, part) = match (name, star) {
            (Some((at, name)), star) if star.is_none_or(|star| at < star) => {
                (at, name.len() + 1, group(name, "[^/]+", names))
            }
            (_, Some(star)) => (star, 1, group(SPLAT, ".*", names)),
            (_, None) => break,
        };
        source.push_str(&regex::escape(&decoded(rest.get(..at).unwrap_or_default())?));
        source.push_str(&part);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    source.push_str(&regex::escape(&decoded(rest)?));
    Ok(())
}

/// A capturing group; a name that was there before captures nothing again.
fn group(name: &str, takes: &str, names: &mut Vec<Box<str>>) -> String {
    if names.iter().any(|known| **known == *name) {
        return format!("(?:{takes})");
    }
    names.push(name.into());
    format!("(?P<{name}>{takes})")
}

/// An expression for `text`, where that is not too long and does not take too many parts.
fn made(text: &str, source: &str, names: Vec<Box<str>>, folds: bool) -> Result<Expression, BadPattern> {
    if text.len() > EXPRESSION_BYTES_MAX || text.matches('*').count() > EXPRESSION_STARS_MAX {
        return Err(BadPattern::TooLong);
    }
    Ok(Expression { source: source.into(), names: names.into(), folds, regex: OnceLock::new() })
}
