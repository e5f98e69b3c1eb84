//! Patterns of paths in rules. The parser turns text into a matcher with captures and without backtracking.
//!
//! A pattern is compared with a path in normal form, decoded (made by `site::target`). Whole segments are matched
//! segment by segment; from the first partially matched segment on, an expression takes over, whose time grows with the
//! length of the path and of the pattern alone, so no rule of one app can block a thread for other apps (law 11).

mod expression;

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

use crate::heap::HeapBytes;
use expression::Expression;

/// Maximum length of a pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 2_000;
/// Maximum length of a pattern that matches parts of segments, in bytes, and maximum number of `*`: bounds on time and
/// memory.
pub const EXPRESSION_BYTES_MAX: usize = 512;
const EXPRESSION_STARS_MAX: usize = 8;
/// Name of the capture of `*`.
pub const SPLAT: &str = "splat";

/// Syntax of patterns, by provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `*` anywhere matches anything, `:name` anywhere matches characters except `/`; a final slash is significant.
    Cloudflare,
    /// `*` as a segment matches any rest or nothing, and at the end of a segment the following characters; `:name`
    /// matches a segment. A final slash is part of the match of a last `*`, and otherwise ignored.
    Netlify,
    /// As Netlify's headers: also `*` in other places, without regard to case.
    NetlifyHeaders,
}

/// Pattern of paths.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: Box<str>,
    /// Boxed, since most patterns apply to every host.
    host: Option<Box<HostPattern>>,
    shape: PatternShape,
    /// True if a final slash of the path is ignored.
    is_tolerant: bool,
    /// True if the case of ASCII letters is ignored.
    folds: bool,
}

#[derive(Debug, Clone)]
enum HostPattern {
    Exact(Box<str>),
    Captures(Expression),
}

#[derive(Debug, Clone)]
enum PatternShape {
    Segments {
        segments: Box<[Segment]>,
        ending: Ending,
    },
    /// Segments, and an expression for the rest.
    Expression {
        literal: Box<[Segment]>,
        expression: Box<Expression>,
    },
}

/// Segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Any nonempty segment, captured under a name.
    Name(Box<str>),
    /// Exactly this segment.
    Text(Box<str>),
}

/// Tail of a pattern after its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A slash and then anything, captured.
    Below,
    /// Nothing, or a slash and then anything, captured.
    BelowOrSelf,
    /// Nothing.
    Exact,
    /// The pattern's expression: [`Pattern::matches`] decides.
    Expression,
}

/// Error for an invalid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// The host is invalid.
    #[error("`{0}` names no host that can be read")]
    Host(String),
    /// Percent signs without two hex digits, or bytes outside UTF-8.
    #[error("`{0}` holds a percent-encoding that cannot be read")]
    Encoding(String),
    /// The text does not begin with a slash.
    #[error("`{0}` is not a path: it must begin with /")]
    NotAPath(String),
    /// Longer than [`PATTERN_BYTES_MAX`], or beyond the bounds of an expression.
    #[error(
        "the path is too long: {PATTERN_BYTES_MAX} bytes are the most, and {EXPRESSION_BYTES_MAX} with at most \
         {EXPRESSION_STARS_MAX} `*` where one is a part of a segment"
    )]
    TooLong,
}

/// Captures of a pattern, by name, decoded.
pub type Captures<'a> = Vec<(&'a str, &'a str)>;

impl Pattern {
    /// Parses a pattern; a pattern that begins with `https://` or `http://` applies to this host alone.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, BadPattern> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(BadPattern::TooLong);
        }
        let (host, path) = match text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
            Some(rest) => {
                let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
                (Some(Box::new(host_pattern(host, dialect)?)), path)
            }
            None => (None, text),
        };
        if !path.starts_with('/') {
            return Err(BadPattern::NotAPath(text.to_owned()));
        }
        let is_tolerant = dialect != Dialect::Cloudflare;
        let path = match path.strip_suffix('/') {
            Some(short) if is_tolerant && !short.is_empty() => short,
            _ => path,
        };
        let folds = dialect == Dialect::NetlifyHeaders;
        Ok(Self { text: text.into(), host, shape: shape(path, dialect)?, is_tolerant, folds })
    }

    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if the pattern applies to one host alone.
    #[must_use]
    pub const fn has_host(&self) -> bool {
        self.host.is_some()
    }

    /// Returns true if a final slash of a path is ignored.
    #[must_use]
    pub const fn is_tolerant(&self) -> bool {
        self.is_tolerant
    }

    /// Returns true if the case of ASCII letters is ignored; the pattern's own letters are then in lower case.
    #[must_use]
    pub const fn folds(&self) -> bool {
        self.folds
    }

    /// Returns true if the pattern matches parts of segments, so the [steps](Self::steps) alone do not determine its
    /// paths.
    #[must_use]
    pub const fn takes_parts(&self) -> bool {
        matches!(self.shape, PatternShape::Expression { .. })
    }

    /// Returns true if the pattern matches parts of segments, or of a host, and so costs more than a lookup.
    #[must_use]
    pub fn is_expression(&self) -> bool {
        self.takes_parts() || matches!(self.host.as_deref(), Some(HostPattern::Captures(_)))
    }

    /// Returns the cost for each character of a path or host, for [an expression](Self::is_expression), otherwise 0:
    /// two for up to 60 characters, placeholders and `*` from the first partially matched segment on, and one more for
    /// each further 64. One unit is about as long as a shift of a word.
    #[must_use]
    pub fn cost(&self) -> usize {
        let of_host = match self.host.as_deref() {
            Some(HostPattern::Captures(expression)) => expression.cost(),
            Some(HostPattern::Exact(_)) | None => 0,
        };
        match &self.shape {
            PatternShape::Segments { .. } => of_host,
            PatternShape::Expression { expression, .. } => of_host + expression.cost(),
        }
    }

    /// Returns a wider pattern: everything below the leading whole segments, on every host, compared at no cost.
    #[must_use]
    pub fn widened(&self) -> Self {
        let shape = PatternShape::Segments { segments: self.steps().0.into(), ending: Ending::BelowOrSelf };
        Self { text: self.text.clone(), host: None, shape, is_tolerant: self.is_tolerant, folds: self.folds }
    }

    /// Returns true if the pattern matches a single path.
    #[must_use]
    pub fn is_static(&self) -> bool {
        match &self.shape {
            PatternShape::Segments { segments, ending: Ending::Exact } => {
                segments.iter().all(|segment| matches!(segment, Segment::Text(_)))
            }
            _ => false,
        }
    }

    /// Returns the leading segments, and the rest, for an index. A significant final slash is an empty last segment.
    #[must_use]
    pub fn steps(&self) -> (&[Segment], Ending) {
        match &self.shape {
            PatternShape::Segments { segments, ending } => (segments, *ending),
            PatternShape::Expression { literal, .. } => (literal, Ending::Expression),
        }
    }

    /// Returns the names of captures, including [`SPLAT`].
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match self.host.as_deref() {
            Some(HostPattern::Captures(expression)) => expression.names().collect(),
            _ => Vec::new(),
        };
        match &self.shape {
            PatternShape::Segments { segments, ending } => {
                names.extend(named(segments));
                if matches!(ending, Ending::Below | Ending::BelowOrSelf) {
                    names.push(SPLAT);
                }
            }
            PatternShape::Expression { literal, expression } => {
                names.extend(named(literal));
                names.extend(expression.names());
            }
        }
        names
    }

    /// Returns the captures of `path`, normal and decoded, on `host`, in lower case; `None` without a match.
    #[must_use]
    pub fn matches<'a>(&'a self, host: &'a str, path: &'a str) -> Option<Captures<'a>> {
        let mut captures = Vec::new();
        self.capture_host(host, Some(&mut captures))?;
        self.capture_path(path, Some(&mut captures))?;
        Some(captures)
    }

    /// Returns true if the pattern [matches](Self::matches), at less cost than captures.
    #[must_use]
    pub fn is_for(&self, host: &str, path: &str) -> bool {
        self.is_for_host(host) && self.takes(path)
    }

    /// Returns true if the pattern matches `host`, in lower case, with some path.
    #[must_use]
    pub fn is_for_host(&self, host: &str) -> bool {
        self.capture_host(host, None).is_some()
    }

    /// Returns true if the pattern matches `path`, normal and decoded, on some host.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        self.capture_path(path, None).is_some()
    }

    fn capture_host<'a>(&'a self, host: &'a str, captures: Option<&mut Captures<'a>>) -> Option<()> {
        match self.host.as_deref() {
            None => Some(()),
            Some(HostPattern::Exact(wanted)) => (**wanted == *host).then_some(()),
            Some(HostPattern::Captures(expression)) => expression.capture(host, captures),
        }
    }

    fn capture_path<'a>(&'a self, path: &'a str, mut captures: Option<&mut Captures<'a>>) -> Option<()> {
        let (segments, ending) = self.steps();
        // A star's match keeps its final slash, as part of the path (RFC 3986 §3.3); expressions handle both forms.
        let is_ignored = self.is_tolerant && ending == Ending::Exact;
        let path = if is_ignored { without_final_slash(path) } else { path };
        let rest = after_segments(segments, self.folds, path, captures.as_deref_mut())?;
        let splat = match (&self.shape, ending, rest.strip_prefix('/')) {
            (PatternShape::Expression { expression, .. }, ..) => return expression.capture(rest, captures),
            (_, Ending::Exact, None) => return Some(()),
            (_, Ending::Below | Ending::BelowOrSelf, Some(below)) => below,
            (_, Ending::BelowOrSelf, None) => "",
            (_, Ending::Exact, Some(_)) | (_, Ending::Below, None) | (_, Ending::Expression, _) => return None,
        };
        if let Some(captures) = captures {
            captures.push((SPLAT, splat));
        }
        Some(())
    }

    /// Returns true if every path matched by `other` is also matched by this pattern; `false` if unknown.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if *self == *other {
            return true;
        }
        if self.folds != other.folds {
            return false;
        }
        let hosts = match (self.host.as_deref(), other.host.as_deref()) {
            (None, _) => true,
            (Some(HostPattern::Exact(own)), Some(HostPattern::Exact(others))) => own == others,
            _ => false,
        };
        let (
            PatternShape::Segments { segments: own, ending },
            PatternShape::Segments { segments: others, ending: other_ending },
        ) = (&self.shape, &other.shape)
        else {
            return false;
        };
        let covers = |(own, others): (&Segment, &Segment)| match (own, others) {
            (Segment::Name(_), Segment::Name(_)) => true,
            (Segment::Name(_), Segment::Text(text)) => !text.is_empty(),
            (Segment::Text(own), Segment::Text(text)) => own == text,
            (Segment::Text(_), Segment::Name(_)) => false,
        };
        if !hosts || others.len() < own.len() || !own.iter().zip(others).all(covers) {
            return false;
        }
        let is_longer = others.len() > own.len();
        match ending {
            Ending::BelowOrSelf => true,
            Ending::Below => is_longer || *other_ending == Ending::Below,
            Ending::Exact => !is_longer && *other_ending == Ending::Exact && (self.is_tolerant || !other.is_tolerant),
            Ending::Expression => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.is_tolerant == other.is_tolerant && self.folds == other.folds
    }
}

impl Eq for Pattern {}

impl HeapBytes for Pattern {
    fn heap_bytes(&self) -> usize {
        let shape = match &self.shape {
            PatternShape::Segments { segments, .. } => segments.heap_bytes(),
            PatternShape::Expression { literal, expression } => literal.heap_bytes() + expression.heap_bytes(),
        };
        self.text.heap_bytes() + self.host.heap_bytes() + shape
    }
}

impl HeapBytes for HostPattern {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Exact(host) => host.heap_bytes(),
            Self::Captures(expression) => expression.heap_bytes(),
        }
    }
}

impl HeapBytes for Segment {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Name(text) | Self::Text(text) => text.heap_bytes(),
        }
    }
}

fn without_final_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(short) if !short.is_empty() => short,
        _ => path,
    }
}

fn named(segments: &[Segment]) -> impl Iterator<Item = &str> {
    segments.iter().filter_map(|segment| match segment {
        Segment::Name(name) => Some(&**name),
        Segment::Text(_) => None,
    })
}

/// Returns the rest of `path` after segments, from a slash on; `None` if `path` does not begin with the segments.
fn after_segments<'a>(
    segments: &'a [Segment],
    folds: bool,
    path: &'a str,
    mut captures: Option<&mut Captures<'a>>,
) -> Option<&'a str> {
    let mut rest = path.starts_with('/').then_some(path)?;
    for segment in segments {
        let inner = rest.strip_prefix('/')?;
        let (found, after) = inner.split_at_checked(inner.find('/').unwrap_or(inner.len()))?;
        match (segment, captures.as_deref_mut()) {
            (Segment::Text(text), _) if **text == *found || (folds && text.eq_ignore_ascii_case(found)) => {}
            (Segment::Name(name), Some(captures)) if !found.is_empty() => captures.push((name, found)),
            (Segment::Name(_), None) if !found.is_empty() => {}
            (Segment::Text(_) | Segment::Name(_), _) => return None,
        }
        rest = after;
    }
    Some(rest)
}

/// Decodes a text and converts the text to NFC, as for compared paths.
fn decoded(text: &str) -> Result<String, BadPattern> {
    let bad = || BadPattern::Encoding(text.to_owned());
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !(hex(at + 1) && hex(at + 2))) {
        return Err(bad());
    }
    let decoded: Cow<'_, str> = percent_decode_str(text).decode_utf8().map_err(|_not_utf8| bad())?;
    Ok(decoded.nfc().collect())
}

fn shape(path: &str, dialect: Dialect) -> Result<PatternShape, BadPattern> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let mut segments = Vec::new();
    let texts: Vec<&str> = rest.split('/').collect();
    for (at, text) in texts.iter().enumerate() {
        let is_last = at + 1 == texts.len();
        if *text == "*" && is_last {
            let ending = if dialect == Dialect::Cloudflare { Ending::Below } else { Ending::BelowOrSelf };
            return Ok(PatternShape::Segments { segments: segments.into(), ending });
        }
        // In Netlify's redirects, the name is the whole text after the colon, as in `:post-slug`.
        let is_whole = |name: &&str| if dialect == Dialect::Netlify { !name.is_empty() } else { is_name(name) };
        let whole = text.strip_prefix(':').filter(is_whole);
        let partial = match dialect {
            Dialect::Netlify => whole.is_none() && text.ends_with('*'),
            Dialect::NetlifyHeaders => text.contains('*'),
            Dialect::Cloudflare => text.contains('*') || next_name(text).is_some_and(|_| whole.is_none()),
        };
        match whole {
            Some(name) if !partial => segments.push(Segment::Name(name.into())),
            _ if partial => {
                let rest = texts.get(at..).unwrap_or_default().join("/");
                let expression = Box::new(Expression::of_path(path, &format!("/{rest}"), dialect)?);
                return Ok(PatternShape::Expression { literal: segments.into(), expression });
            }
            // Netlify drops empty segments.
            _ if dialect == Dialect::NetlifyHeaders && text.is_empty() && !is_last => {}
            _ if dialect == Dialect::NetlifyHeaders => {
                segments.push(Segment::Text(decoded(text)?.to_ascii_lowercase().into()));
            }
            _ => segments.push(Segment::Text(decoded(text)?.into())),
        }
    }
    Ok(PatternShape::Segments { segments: segments.into(), ending: Ending::Exact })
}

fn host_pattern(host: &str, dialect: Dialect) -> Result<HostPattern, BadPattern> {
    let bad = || BadPattern::Host(host.to_owned());
    // The edge listens on one port, so the port in the pattern is ignored.
    let name = host.rsplit_once(':').filter(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let host = name.map_or(host, |(name, _)| name);
    if host.is_empty() {
        return Err(bad());
    }
    if dialect == Dialect::Cloudflare && (host.contains('*') || next_name(host).is_some()) {
        return Ok(HostPattern::Captures(Expression::of_host(host)?));
    }
    match url::Host::parse(host) {
        Ok(parsed) => Ok(HostPattern::Exact(parsed.to_string().to_ascii_lowercase().into())),
        Err(_not_a_host) => Err(bad()),
    }
}

/// Returns true if a redirect's path in Netlify's form has a literal `*`: not at the end of a segment, or part of a
/// name.
#[must_use]
pub fn has_plain_star(path: &str) -> bool {
    path.split('/').any(|segment| match segment.strip_suffix('*') {
        Some(before) => before.contains('*') || before.starts_with(':'),
        None => segment.contains('*'),
    })
}

/// Returns true if a text is the name of a placeholder, without its colon.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic()) && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Returns the first placeholder of a text: the position of its colon, and its name.
#[must_use]
pub fn next_name(text: &str) -> Option<(usize, &str)> {
    text.match_indices(':').find_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let end = rest.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_')).unwrap_or(rest.len());
        let name = rest.get(..end)?;
        is_name(name).then_some((at, name))
    })
}

#[cfg(test)]
mod tests;
