//! A provider's pattern of paths in pieces, and what it is in ours.
//!
//! Ours knows a segment, `:name`, and what is below a folder, `*` at the end; patterns of fields have `*` anywhere.
//! Alternatives become rules of their own. What neither can say is refused with the reason, and not widened: a redirect
//! that takes more paths than it did takes pages away. The two exceptions are marked, so that they can be said.

use std::fmt;
use std::ops::Range;

use devanture_site::rules::pattern::{SPLAT, is_name};

/// Most rules that the alternatives of one pattern may become.
const ALTERNATIVES_MAX: usize = 32;

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Nothing, or a slash and then anything.
    Below,
    /// Any number of segments, each with the slash after it.
    Deep,
    /// Anything, or nothing.
    Rest,
    /// One segment that is not empty.
    Segment,
    /// Anything but nothing.
    Some,
    /// Exactly this.
    Text(String),
    /// Anything but a slash, or nothing.
    Within,
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A capture for the target.
    Capture(Capture, Vec<Self>),
    /// One of several.
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

/// Says why a pattern cannot be one of ours.
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

/// One of our patterns, with what stands for each capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ours {
    pub(crate) pattern: String,
    pub(crate) values: Vec<(Capture, String)>,
    /// Captures of the pattern's other alternatives: nothing stands for them.
    pub(crate) absent: Vec<Capture>,
    /// Whether a star takes slashes here that it did not take there.
    pub(crate) is_wider: bool,
    /// Whether it takes a folder itself here, and took only what is below there.
    pub(crate) takes_folder: bool,
    /// Whether what is below a folder, with its slash, may be absent.
    may_end_early: bool,
}

/// A pattern without alternatives.
#[derive(Debug, Clone, Default)]
struct Source {
    pieces: Vec<Piece>,
    captures: Vec<(Capture, Range<usize>)>,
}

/// The patterns for `from` that together are `items`.
///
/// # Errors
/// Where they cannot be said.
pub(crate) fn for_redirects(items: &[Item]) -> Result<Vec<Ours>, Refused> {
    patterns(items, Source::redirects)
}

/// The patterns for `for` that together are `items`.
///
/// # Errors
/// Where they cannot be said.
pub(crate) fn for_headers(items: &[Item]) -> Result<Vec<Ours>, Refused> {
    patterns(items, |source| Ok(vec![source.headers()]))
}

fn patterns(items: &[Item], ours: impl Fn(&Source) -> Result<Vec<Ours>, Refused>) -> Result<Vec<Ours>, Refused> {
    let mut all = Vec::new();
    collect(items, &mut all);
    let mut patterns: Vec<Ours> = Vec::new();
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

/// Each of `before`, followed by each way to take `items`.
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
    /// The name that the segment at `index` gets.
    fn name(&self, index: usize) -> String {
        let whole = self.captures.iter().find(|(_, range)| *range == (index..index + 1));
        let name = whole.and_then(|(capture, _)| capture.name.clone()).filter(|name| is_name(name) && name != SPLAT);
        name.unwrap_or_else(|| format!("part{}", index + 1))
    }

    /// The text of each capture, with the text of each piece by `of_piece`.
    fn values(&self, of_piece: impl Fn(usize) -> Option<String>) -> Vec<(Capture, String)> {
        let value = |range: &Range<usize>| range.clone().map(&of_piece).collect::<Option<String>>();
        self.captures.iter().filter_map(|(capture, range)| Some((capture.clone(), value(range)?))).collect()
    }

    fn redirects(&self) -> Result<Vec<Ours>, Refused> {
        let mut pattern = String::new();
        let mut is_several = false;
        let mut takes_folder = false;
        let may_end_early = self.pieces.last() == Some(&Piece::Below);
        // After a placeholder its segment is over.
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
        let mut ours =
            vec![Ours { pattern: pattern.clone(), values: values(""), takes_folder, may_end_early, ..Ours::default() }];
        if is_several {
            let pattern = format!("{pattern}/*");
            ours.push(Ours { pattern, values: values(&format!("/:{SPLAT}")), ..Ours::default() });
        }
        Ok(ours)
    }

    fn headers(&self) -> Ours {
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
                // A star takes slashes too, so that nothing need be said for the folders before it.
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
        Ours { pattern, values, is_wider, ..Ours::default() }
    }
}

/// A text of a path as it stands in a pattern of ours.
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

impl Ours {
    fn value(&self, wanted: &Capture) -> Option<&str> {
        self.values.iter().find(|(capture, _)| capture == wanted).map(|(_, value)| value.as_str())
    }

    /// A target with our names for the captures: `:name`, `:1` or `$1`, with a modifier
    /// behind it or without.
    ///
    /// # Errors
    /// Where it uses a capture that ours does not make.
    pub(crate) fn fill(&self, text: &str) -> Result<String, Refused> {
        let filled = self.filled(text, true)?;
        Ok(if filled.is_empty() { "/".to_owned() } else { filled })
    }

    /// As [`Self::fill`], for the value of a field: it is no path, and nothing stands for what is absent.
    ///
    /// # Errors
    /// Where it uses a capture that ours does not make.
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

    /// The pattern and the target for the folder itself, where a target without what is below has no final slash
    /// either: `/a/:path*` to `/b/:path*` leads from `/a` to `/b`, and our `/b/:splat` would lead to `/b/`.
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

    /// Whether `text` uses a capture.
    pub(crate) fn is_used_by(&self, text: &str) -> bool {
        let mut captures = self.values.iter().map(|(capture, _)| capture).chain(&self.absent);
        captures.any(|capture| capture.name.as_ref().is_some_and(|name| text.contains(&format!(":{name}"))))
    }
}

/// The text after a placeholder, without `*`, `+` or `?`; a `?` before more than a slash begins a query.
fn without_modifier(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix(['*', '+']) {
        return rest;
    }
    match text.strip_prefix('?') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => text,
    }
}
