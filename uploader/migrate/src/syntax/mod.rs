//! Pattern syntaxes of providers: `path-to-regexp` (Vercel), globs (Firebase), and the subset of regular expressions in
//! both that a path pattern here can express.

use super::source::{Capture, Item, Piece, Refused, refused};

/// Parses a pattern of `path-to-regexp` 6, in Vercel's form: <https://vercel.com/docs/project-configuration>.
///
/// # Errors
/// An error if pieces cannot express the pattern.
pub(crate) fn path_to_regexp(text: &str) -> Result<Vec<Item>, Refused> {
    let mut reader = Reader::new(text);
    let mut items = Items::default();
    while let Some(character) = reader.next() {
        match character {
            '\\' => items.literal(reader.next().unwrap_or('\\')),
            ':' => {
                let name = reader.name();
                if name.is_empty() {
                    return refused("a `:` names nothing");
                }
                parameter(&mut reader, &mut items, Some(name))?;
            }
            '(' => {
                reader.at -= 1;
                parameter(&mut reader, &mut items, None)?;
            }
            '{' => braces(&mut reader, &mut items)?,
            '*' | '+' | '?' | '}' | ')' => return refused(format!("a `{character}` stands alone")),
            _ => items.literal(character),
        }
    }
    Ok(items.done())
}

/// Parses a glob of Firebase: <https://firebase.google.com/docs/hosting/full-config#glob_pattern_matching>.
///
/// # Errors
/// An error if pieces cannot express the pattern.
pub(crate) fn glob(text: &str) -> Result<Vec<Item>, Refused> {
    if text.starts_with('!') && !text.starts_with("!(") {
        return refused("it is for every path that is not this one");
    }
    let text = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let mut reader = Reader::new(&text);
    let items = glob_branch(&mut reader, &[], None)?;
    Ok(items)
}

/// Parses a regular expression (RE2's), which is taken to match the whole path.
///
/// # Errors
/// An error if pieces cannot express the pattern.
pub(crate) fn regex(text: &str) -> Result<Vec<Item>, Refused> {
    let mut reader = Reader::new(text);
    reader.take("^");
    let items = alternatives(&mut reader)?;
    match reader.next() {
        None => Ok(items),
        Some(character) => refused(format!("a `{character}` stands alone")),
    }
}

/// Returns `Some` if a source of `path-to-regexp` matches every path, with the paths left out by a lookahead, if any.
pub(crate) fn takes_everything(source: &str) -> Option<Option<String>> {
    if let Some(name) =
        source.strip_prefix("/:").and_then(|rest| rest.strip_suffix('*').or_else(|| rest.strip_suffix("(.*)")))
    {
        return name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(None);
    }
    let group = source.strip_prefix('/').unwrap_or(source);
    let inner = group.strip_prefix('(')?.strip_suffix(')')?;
    if inner == ".*" {
        return Some(None);
    }
    let lookahead = inner.strip_prefix("(?!")?;
    let mut depth = 1_usize;
    let end = lookahead.char_indices().find_map(|(at, character)| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })?;
    let (excluded, rest) = lookahead.split_at(end);
    (rest == ").*").then(|| Some(excluded.to_owned()))
}

/// The items so far, with the literal text before the next one.
#[derive(Default)]
struct Items {
    done: Vec<Item>,
    pending: String,
}

impl Items {
    fn literal(&mut self, character: char) {
        self.pending.push(character);
    }

    fn push(&mut self, item: Item) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.done.push(Item::Piece(Piece::Text(pending)));
        }
        self.done.push(item);
    }

    fn done(mut self) -> Vec<Item> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.done.push(Item::Piece(Piece::Text(pending)));
        }
        self.done
    }
}

/// A place in a text.
struct Reader {
    text: Vec<char>,
    at: usize,
    captures: usize,
    depth: usize,
}

/// Deepest nesting of groups.
const DEPTH_MAX: usize = 16;

impl Reader {
    fn new(text: &str) -> Self {
        Self { text: text.chars().collect(), at: 0, captures: 0, depth: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    /// Skips `text` and returns true, if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = text.chars().enumerate().all(|(at, character)| rest.get(at) == Some(&character));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(character);
            self.at += 1;
        }
        name
    }

    fn capture(&mut self, name: Option<String>) -> Capture {
        self.captures += 1;
        Capture { name, number: self.captures }
    }

    fn deeper(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { refused("its groups are nested too deep") } else { Ok(()) }
    }
}

/// The modifier of a parameter.
fn modifier(reader: &mut Reader) -> Option<char> {
    let found = reader.peek().filter(|c| matches!(c, '*' | '+' | '?'))?;
    reader.at += 1;
    Some(found)
}

/// Parses a parameter of `path-to-regexp`: a name, a pattern in parentheses, or both, and a modifier.
fn parameter(reader: &mut Reader, items: &mut Items, name: Option<String>) -> Result<(), Refused> {
    let capture = reader.capture(name);
    let pattern = match reader.take("(") {
        true => Some(group(reader)?),
        false => None,
    };
    let is_plain = match pattern.as_deref() {
        None => true,
        Some([Item::Piece(piece)]) => matches!(piece, Piece::Rest | Piece::Segment | Piece::Some),
        Some(_) => false,
    };
    let matched = pattern.unwrap_or_else(|| vec![Item::Piece(Piece::Segment)]);
    let prefix = items.pending.pop();
    let repeats = prefix == Some('/') && is_plain;
    match modifier(reader) {
        None => {
            items.pending.extend(prefix);
            items.push(Item::Capture(capture, matched));
        }
        Some('?') => {
            let is_prefix = matches!(prefix, Some('/' | '.'));
            items.pending.extend(prefix.filter(|_| !is_prefix));
            let text = prefix.filter(|_| is_prefix).map(|prefix| Item::Piece(Piece::Text(prefix.to_string())));
            let with = text.into_iter().chain([Item::Capture(capture, matched)]).collect();
            items.push(Item::Choice(vec![Vec::new(), with]));
        }
        Some('*') if repeats => items.push(Item::Capture(capture, vec![Item::Piece(Piece::Below)])),
        Some('+') if repeats => {
            items.literal('/');
            items.push(Item::Capture(capture, vec![Item::Piece(Piece::Some)]));
        }
        Some(_) => return refused("what repeats is not whole segments"),
    }
    Ok(())
}

/// `{prefix:name(pattern)suffix}` of `path-to-regexp`.
fn braces(reader: &mut Reader, items: &mut Items) -> Result<(), Refused> {
    let mut inner = Items::default();
    loop {
        match reader.next() {
            None => return refused("a `{` is not closed"),
            Some('}') => break,
            Some('\\') => inner.literal(reader.next().unwrap_or('\\')),
            Some(':') => {
                let name = reader.name();
                brace_parameter(reader, &mut inner, Some(name))?;
            }
            Some('(') => {
                reader.at -= 1;
                brace_parameter(reader, &mut inner, None)?;
            }
            Some(character) => inner.literal(character),
        }
    }
    let inner = inner.done();
    match modifier(reader) {
        None => inner.into_iter().for_each(|item| items.push(item)),
        Some('?') => items.push(Item::Choice(vec![Vec::new(), inner])),
        Some(_) => return refused("what repeats is not whole segments"),
    }
    Ok(())
}

fn brace_parameter(reader: &mut Reader, items: &mut Items, name: Option<String>) -> Result<(), Refused> {
    let capture = reader.capture(name);
    let matched = match reader.take("(") {
        true => group(reader)?,
        false => vec![Item::Piece(Piece::Segment)],
    };
    items.push(Item::Capture(capture, matched));
    Ok(())
}

/// Parses the inside of a group of a regular expression after its parenthesis, up to its end.
fn group(reader: &mut Reader) -> Result<Vec<Item>, Refused> {
    let items = alternatives(reader)?;
    if reader.take(")") { Ok(items) } else { refused("a `(` is not closed") }
}

/// Alternatives of a regular expression, up to a `)` or the end.
fn alternatives(reader: &mut Reader) -> Result<Vec<Item>, Refused> {
    reader.deeper()?;
    let mut branches = Vec::new();
    let mut items = Items::default();
    loop {
        match reader.peek() {
            None | Some(')') => break,
            Some('|') => {
                reader.at += 1;
                branches.push(std::mem::take(&mut items).done());
            }
            Some('$') if reader.text.get(reader.at + 1).is_none_or(|next| *next == ')') => reader.at += 1,
            Some(_) => atom(reader, &mut items)?,
        }
    }
    reader.depth -= 1;
    if branches.is_empty() {
        return Ok(items.done());
    }
    branches.push(items.done());
    Ok(vec![Item::Choice(branches)])
}

fn atom(reader: &mut Reader, items: &mut Items) -> Result<(), Refused> {
    let start = reader.at;
    let mut matched = match reader.next() {
        Some('\\') => match reader.next() {
            Some(character) if !character.is_ascii_alphanumeric() => Item::Piece(Piece::Text(character.to_string())),
            Some(character) => return limited(&format!("\\{character}")),
            None => return refused("it ends with a `\\`"),
        },
        Some('.') if reader.take("*") => Item::Piece(Piece::Rest),
        Some('.') if reader.take("+") => Item::Piece(Piece::Some),
        Some('[') => class(reader)?,
        Some('(') => parentheses(reader)?,
        Some(character @ ('*' | '+' | '?' | '{' | '^')) => return refused(format!("a `{character}` stands alone")),
        Some(character) => Item::Piece(Piece::Text(character.to_string())),
        None => return Ok(()),
    };
    let is_star = matches!(matched, Item::Piece(Piece::Rest | Piece::Some | Piece::Segment | Piece::Within));
    match reader.peek() {
        // For a whole path, greedy and lazy stars are equivalent.
        Some('?') if is_star => reader.at += 1,
        Some('?') => {
            reader.at += 1;
            matched = Item::Choice(vec![Vec::new(), vec![matched]]);
        }
        Some('*' | '+' | '{') => {
            let text: String = reader.text.get(start..=reader.at).unwrap_or_default().iter().collect();
            return limited(&text);
        }
        _ => {}
    }
    match matched {
        Item::Piece(Piece::Text(text)) => text.chars().for_each(|character| items.literal(character)),
        Item::Capture(..) | Item::Choice(_) | Item::Piece(_) => items.push(matched),
    }
    Ok(())
}

fn limited<T>(text: &str) -> Result<T, Refused> {
    refused(format!("`{text}` limits what a placeholder takes"))
}

/// Parses a character class after its bracket; only `[^/]` has an equivalent in a path pattern.
fn class(reader: &mut Reader) -> Result<Item, Refused> {
    let mut text = String::new();
    while let Some(character) = reader.next() {
        match character {
            ']' if !text.is_empty() => {
                let is_segment = matches!(text.as_str(), "^/" | "^/?" | "^/#?" | "^/?#");
                return match reader.next() {
                    Some('+') if is_segment => Ok(Item::Piece(Piece::Segment)),
                    Some('*') if is_segment => Ok(Item::Piece(Piece::Within)),
                    _ => limited(&format!("[{text}]")),
                };
            }
            '\\' => text.extend(reader.next()),
            _ => text.push(character),
        }
    }
    refused("a `[` is not closed")
}

/// Parses a group of a regular expression after its parenthesis.
fn parentheses(reader: &mut Reader) -> Result<Item, Refused> {
    if reader.take("?:") {
        return Ok(Item::Choice(vec![group(reader)?]));
    }
    let name = if reader.take("?P<") || (reader.peek() == Some('?') && is_named(reader) && reader.take("?<")) {
        let name = reader.name();
        if !reader.take(">") {
            return refused("the name of a group is not closed");
        }
        Some(name)
    } else if reader.peek() == Some('?') {
        return refused("it leaves out paths by a lookaround, `(?!…)`");
    } else {
        None
    };
    let capture = reader.capture(name);
    Ok(Item::Capture(capture, group(reader)?))
}

fn is_named(reader: &Reader) -> bool {
    let next = |at: usize| reader.text.get(reader.at + at).copied();
    next(1) == Some('<') && next(2).is_some_and(|c| c.is_ascii_alphabetic())
}

/// Parses a branch of a glob, up to an element of `ends`; `before` is the preceding character.
fn glob_branch(reader: &mut Reader, ends: &[char], before: Option<char>) -> Result<Vec<Item>, Refused> {
    reader.deeper()?;
    let mut items = Items::default();
    let mut last = before;
    while let Some(character) = reader.peek().filter(|c| !ends.contains(c)) {
        reader.at += 1;
        let begins_segment = last == Some('/');
        let is_end = |reader: &Reader| reader.peek().is_none_or(|c| ends.contains(&c));
        let opens = reader.peek() == Some('(');
        last = Some(character);
        match character {
            '\\' => items.literal(reader.next().unwrap_or('\\')),
            '*' if opens => return limited("*(…)"),
            '+' | '!' if opens => return limited(&format!("{character}(…)")),
            '*' if reader.take("*") => {
                let piece = match begins_segment {
                    true if reader.take("/") => {
                        last = Some('/');
                        deep(reader)
                    }
                    true if is_end(reader) => Piece::Rest,
                    _ => Piece::Within,
                };
                items.push(Item::Piece(piece));
            }
            '*' => {
                let is_segment = begins_segment && (is_end(reader) || reader.peek() == Some('/'));
                items.push(Item::Piece(if is_segment { Piece::Segment } else { Piece::Within }));
            }
            '@' | '?' if opens => {
                reader.at += 1;
                let mut branches = glob_choice(reader, '|', ')', last)?;
                if character == '?' {
                    branches.insert(0, Vec::new());
                }
                items.push(Item::Choice(branches));
            }
            '{' => items.push(Item::Choice(glob_choice(reader, ',', '}', items.pending.chars().last().or(before))?)),
            '?' | '[' => return limited(&character.to_string()),
            ':' => match reader.name() {
                name if name.is_empty() => items.literal(':'),
                name => parameter(reader, &mut items, Some(name))?,
            },
            '(' => {
                reader.at -= 1;
                parameter(reader, &mut items, None)?;
            }
            _ => items.literal(character),
        }
    }
    reader.depth -= 1;
    Ok(items.done())
}

/// Returns the piece of `**/`, which was read: with a whole `*` behind at the end, all paths below.
fn deep(reader: &mut Reader) -> Piece {
    let rest = reader.text.get(reader.at..).unwrap_or_default();
    if rest == ['*'] {
        reader.at += 1;
        return Piece::Rest;
    }
    Piece::Deep
}

/// Parses the branches of a choice after its opening, up to its end.
fn glob_choice(reader: &mut Reader, between: char, end: char, before: Option<char>) -> Result<Vec<Vec<Item>>, Refused> {
    let mut branches = Vec::new();
    loop {
        branches.push(glob_branch(reader, &[between, end], before)?);
        match reader.next() {
            Some(character) if character == between => {}
            Some(_) => return Ok(branches),
            None => return refused(format!("a `{end}` is missing")),
        }
    }
}

#[cfg(test)]
mod tests;
