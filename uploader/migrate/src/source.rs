//! A provider's pattern of paths as pieces, and the equivalent patterns here.
//!
//! Patterns here have a segment, `:name`, and all paths below a folder, `*` at the end; patterns of fields have `*`
//! anywhere. Alternatives become separate rules. A pattern without an equivalent is refused with the reason, and not
//! widened: a redirect with more paths than before would take pages away. The two exceptions are marked, so that they
//! can be noted.

use std::fmt;
use std::ops::Range;

use devanture_site::rules::pattern::{SPLAT, is_name};

/// Upper bound of rules from the alternatives of one pattern.
const ALTERNATIVES_MAX: usize = 32;

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Nothing, or a slash and then any text.
    Below,
    /// Any number of segments, each with a slash at the end.
    Deep,
    /// Any text, possibly empty.
    Rest,
    /// A single segment, not empty.
    Segment,
    /// Any text, not empty.
    Some,
    /// Exactly this text.
    Text(String),
    /// Any text without a slash, possibly empty.
    Within,
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A capture for the target.
    Capture(Capture, Vec<Self>),
    /// A choice of alternatives.
    Choice(Vec<Vec<Self>>),
    Piece(Piece),
}

/// The form of captures in a target: by name, by number, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    pub(crate) name: Option<String>,
    /// From 1.
    pub(crate) number: usize,
}

/// The hint for a refused pattern.
pub(crate) const INSTEAD: &str = "a rule for each path, or :name for any segment and * at the end, where that is meant";

/// The reason why a pattern has no equivalent here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

/// A pattern of this edge, with the replacement of each capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TargetPattern {
    pub(crate) pattern: String,
    pub(crate) values: Vec<(Capture, String)>,
    /// Captures of the pattern's other alternatives, which are replaced by nothing.
    pub(crate) absent: Vec<Capture>,
    /// Set if a star matches slashes here that it did not match there.
    pub(crate) is_wider: bool,
    /// Set if the pattern matches a folder itself here, and matched only paths below the folder there.
    pub(crate) takes_folder: bool,
    /// Set if the part below a folder, with its slash, may be absent.
    may_end_early: bool,
}

/// A pattern without alternatives.
#[derive(Debug, Clone, Default)]
struct Source {
    pieces: Vec<Piece>,
    captures: Vec<(Capture, Range<usize>)>,
}

/// Returns the patterns for `from` that together are equivalent to `items`.
///
/// # Errors
/// An error without an equivalent.
pub(crate) fn for_redirects(items: &[Item]) -> Result<Vec<TargetPattern>, Refused> {
    patterns(items, Source::redirects)
}

/// Returns the patterns for `for` that together are equivalent to `items`.
///
/// # Errors
/// An error without an equivalent.
pub(crate) fn for_headers(items: &[Item]) -> Result<Vec<TargetPattern>, Refused> {
    patterns(items, |source| Ok(vec![source.headers()]))
}

fn patterns(
    items: &[Item],
    ours: impl Fn(&Source) -> Result<Vec<TargetPattern>, Refused>,
) -> Result<Vec<TargetPattern>, Refused> {
    let mut all = Vec::new();
    collect(items, &mut all);
    let mut patterns: Vec<TargetPattern> = Vec::new();
    for source in expanded(items, vec![Source::default()])? {
        for mut one in ours(&source)? {
            if !one.pattern.starts_with('/') {
                return refused("it is not a path that begins with /");
            }
            if patterns.iter().any(|known| known.pattern == one.pattern) {
                continue;
            }
            one.absent = all.iter().filter(|capture| one.value(capture).is_none()).cloned().collect();
            patterns.push(one);
        }
    }
    Ok(patterns)
}

fn collect(items: &[Item], captures: &mut Vec<Capture>) {
    for item in items {
        match item {
            Item::Capture(capture, inner) => {
                captures.push(capture.clone());
                collect(inner, captures);
            }
            Item::Choice(branches) => branches.iter().for_each(|branch| collect(branch, captures)),
            Item::Piece(_) => {}
        }
    }
}

/// Returns each of `before`, followed by each alternative of `items`.
fn expanded(items: &[Item], mut before: Vec<Source>) -> Result<Vec<Source>, Refused> {
    for item in items {
        before = match item {
            Item::Piece(piece) => {
                before.iter_mut().for_each(|source| source.pieces.push(piece.clone()));
                before
            }
            Item::Choice(branches) => {
                let mut after = Vec::new();
                for source in &before {
                    for branch in branches {
                        after.extend(expanded(branch, vec![source.clone()])?);
                        if after.len() > ALTERNATIVES_MAX {
                            return refused(format!("its alternatives are more than {ALTERNATIVES_MAX} rules"));
                        }
                    }
                }
                after
            }
            Item::Capture(capture, inner) => {
                let mut after = Vec::new();
                for source in before {
                    let start = source.pieces.len();
                    for mut one in expanded(inner, vec![source])? {
                        let range = start..one.pieces.len();
                        one.captures.push((capture.clone(), range));
                        after.push(one);
                    }
                }
                after
            }
        };
    }
    Ok(before)
}

impl Source {
    /// Returns the name of the segment at `index`.
    fn name(&self, index: usize) -> String {
        let whole = self.captures.iter().find(|(_, range)| *range == (index..index + 1));
        let name = whole.and_then(|(capture, _)| capture.name.clone()).filter(|name| is_name(name) && name != SPLAT);
        name.unwrap_or_else(|| format!("part{}", index + 1))
    }

    /// Returns the text of each capture, with the text of each piece from `of_piece`.
    fn values(&self, of_piece: impl Fn(usize) -> Option<String>) -> Vec<(Capture, String)> {
        let value = |range: &Range<usize>| range.clone().map(&of_piece).collect::<Option<String>>();
        self.captures.iter().filter_map(|(capture, range)| Some((capture.clone(), value(range)?))).collect()
    }

    fn redirects(&self) -> Result<Vec<TargetPattern>, Refused> {
        let mut pattern = String::new();
        let mut is_several = false;
        let mut takes_folder = false;
        let may_end_early = self.pieces.last() == Some(&Piece::Below);
        // A placeholder ends its segment.
        let mut is_over = false;
        let count = self.pieces.len();
        for (index, piece) in self.pieces.iter().enumerate() {
            let is_last = index + 1 == count;
            let begins_segment = pattern.ends_with('/');
            if is_over && !matches!(piece, Piece::Below) && !matches!(piece, Piece::Text(text) if text.starts_with('/'))
            {
                return refused("a placeholder is a part of a segment, and here it is a whole one");
            }
            is_over = false;
            match piece {
                Piece::Text(text) => pattern.push_str(&encoded(text)),
                Piece::Segment if begins_segment => {
                    pattern.push_str(&format!(":{}", self.name(index)));
                    is_over = true;
                }
                Piece::Below if is_last => pattern.push_str(if begins_segment { "*" } else { "/*" }),
                Piece::Rest if is_last && begins_segment => {
                    takes_folder = pattern != "/";
                    pattern.push('*');
                }
                Piece::Some if is_last && begins_segment => {
                    pattern.push_str(&format!(":{}", self.name(index)));
                    is_several = true;
                }
                Piece::Segment | Piece::Within => {
                    return refused("a placeholder is a part of a segment, and here it is a whole one");
                }
                Piece::Below | Piece::Deep | Piece::Rest | Piece::Some => {
                    return refused(
                        "something comes after or directly before a star, which here is a last segment of its own",
                    );
                }
            }
        }
        let values = |ending: &str| {
            self.values(|index| match self.pieces.get(index)? {
                Piece::Text(text) => Some(text.clone()),
                Piece::Segment => Some(format!(":{}", self.name(index))),
                Piece::Some => Some(format!(":{}{ending}", self.name(index))),
                Piece::Below | Piece::Rest => Some(format!(":{SPLAT}")),
                Piece::Deep | Piece::Within => None,
            })
        };
        let mut ours = vec![TargetPattern {
            pattern: pattern.clone(),
            values: values(""),
            takes_folder,
            may_end_early,
            ..TargetPattern::default()
        }];
        if is_several {
            let pattern = format!("{pattern}/*");
            ours.push(TargetPattern { pattern, values: values(&format!("/:{SPLAT}")), ..TargetPattern::default() });
        }
        Ok(ours)
    }

    fn headers(&self) -> TargetPattern {
        let mut pattern = String::new();
        let mut is_wider = false;
        let mut splats = Vec::new();
        let mut names = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            let begins_segment = pattern.ends_with('/');
            let next = self.pieces.get(index + 1);
            let ends_segment = next.is_none_or(|next| match next {
                Piece::Below => true,
                Piece::Text(text) => text.starts_with('/'),
                Piece::Deep | Piece::Rest | Piece::Segment | Piece::Some | Piece::Within => false,
            });
            let after_deep = index.checked_sub(1).and_then(|at| self.pieces.get(at)) == Some(&Piece::Deep);
            match piece {
                Piece::Text(text) => pattern.push_str(&encoded(text)),
                Piece::Segment if begins_segment && ends_segment && !after_deep => {
                    names.push(index);
                    pattern.push_str(&format!(":{}", self.name(index)));
                }
                // A star matches slashes too, so that the folders before the star need no pattern.
                Piece::Deep if matches!(next, Some(Piece::Segment | Piece::Within)) => {}
                Piece::Deep => pattern.push_str("*/"),
                Piece::Below => {
                    splats.push(index);
                    pattern.push_str("/*");
                }
                Piece::Rest | Piece::Some | Piece::Segment | Piece::Within => {
                    is_wider |= matches!(piece, Piece::Segment | Piece::Within) && !after_deep;
                    if begins_segment && ends_segment {
                        splats.push(index);
                    }
                    if !pattern.ends_with('*') {
                        pattern.push('*');
                    }
                }
            }
        }
        let values = self.values(|index| match self.pieces.get(index)? {
            Piece::Text(text) => Some(text.clone()),
            _ if names.contains(&index) => Some(format!(":{}", self.name(index))),
            _ if splats.first() == Some(&index) => Some(format!(":{SPLAT}")),
            _ => None,
        });
        TargetPattern { pattern, values, is_wider, ..TargetPattern::default() }
    }
}

/// Returns a text of a path, encoded for a pattern.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        match character {
            '*' => encoded.push_str("%2A"),
            ':' => encoded.push_str("%3A"),
            '?' => encoded.push_str("%3F"),
            '#' => encoded.push_str("%23"),
            '%' if !text.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) => {
                encoded.push_str("%25");
            }
            _ => encoded.push(character),
        }
    }
    encoded
}

impl TargetPattern {
    fn value(&self, wanted: &Capture) -> Option<&str> {
        self.values.iter().find(|(capture, _)| capture == wanted).map(|(_, value)| value.as_str())
    }

    /// Replaces the captures of a target by the names of this pattern: `:name`, `:1` or `$1`, with or without a
    /// modifier.
    ///
    /// # Errors
    /// An error if the target uses a capture that the pattern lacks.
    pub(crate) fn fill(&self, text: &str) -> Result<String, Refused> {
        let filled = self.filled(text, true)?;
        Ok(if filled.is_empty() { "/".to_owned() } else { filled })
    }

    /// Like [`Self::fill`], for the value of a field, which is not a path: absent captures are replaced by nothing.
    ///
    /// # Errors
    /// An error if the value uses a capture that the pattern lacks.
    pub(crate) fn fill_value(&self, text: &str) -> Result<String, Refused> {
        self.filled(text, false)
    }

    fn filled(&self, text: &str, is_path: bool) -> Result<String, Refused> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find([':', '$']) {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let after = from.get(1..).unwrap_or_default();
            let length = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let length = match from.starts_with('$') {
                true => after.bytes().take_while(u8::is_ascii_digit).count(),
                false => length,
            };
            let (name, behind) = after.split_at(length);
            let is_it = |capture: &Capture| {
                !name.is_empty() && (capture.name.as_deref() == Some(name) || capture.number.to_string() == name)
            };
            rest = behind;
            if let Some((_, value)) = self.values.iter().find(|(capture, _)| is_it(capture)) {
                filled.push_str(value);
                rest = without_modifier(behind);
                if value.contains(':') && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                    return refused(format!("`{text}` continues a placeholder with a letter or digit"));
                }
            } else if self.absent.iter().any(is_it) {
                let has_another = self.values.iter().any(|(capture, _)| capture.name.as_deref() == Some(name));
                if is_path && !has_another && filled.ends_with('/') {
                    filled.pop();
                }
                rest = without_modifier(behind);
            } else {
                filled.push_str(from.get(..=length).unwrap_or_default());
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Returns the pattern and the target for the folder itself, if the target without the lower part has no final
    /// slash either: `/a/:path*` to `/b/:path*` leads from `/a` to `/b`, while `/b/:splat` here would lead to `/b/`.
    pub(crate) fn folder(&self, to: &str) -> Option<(String, String)> {
        let folder = self.pattern.strip_suffix("/*").filter(|_| self.may_end_early)?;
        let (before, after) = to.split_once("/:splat")?;
        let path =
            before.split_once("://").map_or(Some(before), |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
        let is_last = after.is_empty() || after.starts_with(['?', '#']);
        (is_last && path.is_some_and(|path| !path.is_empty())).then(|| {
            let folder = if folder.is_empty() { "/" } else { folder };
            (folder.to_owned(), format!("{before}{after}"))
        })
    }

    /// Returns true if `text` uses a capture.
    pub(crate) fn is_used_by(&self, text: &str) -> bool {
        let mut captures = self.values.iter().map(|(capture, _)| capture).chain(&self.absent);
        captures.any(|capture| capture.name.as_ref().is_some_and(|name| text.contains(&format!(":{name}"))))
    }
}

/// Returns the text after a placeholder, without `*`, `+` or `?`; a `?` before more than a slash begins a query.
fn without_modifier(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix(['*', '+']) {
        return rest;
    }
    match text.strip_prefix('?') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => text,
    }
}
