//! `_headers` in Cloudflare's meaning: a path or a URL, then fields to set and to remove; the values of several blocks
//! add up.

use std::collections::HashMap;

use super::{is_too_long, repeated_capture, url_of};
use crate::rules::headers::Change;
use crate::rules::lines::{Block, File, lines, quoted, write};
use crate::rules::pattern::Dialect;
use crate::rules::template::Template;
use crate::rules::{Findings, HEADERS_FILE, HeaderRule};

/// Maximum blocks. Cloudflare documents 100, but counts a block only at the next one, and so accepts one more.
const BLOCKS_MAX: usize = 101;

/// The rule of the lines under a path.
enum Open<'t> {
    /// No path so far.
    Nothing,
    /// A dropped path, already reported.
    Dropped,
    /// A path, in the form of a URL.
    Block(String, Block<'t>),
}

/// Parses the file.
pub(super) fn read(text: &str, findings: &mut Findings) -> Vec<HeaderRule> {
    let mut file = File::new(HEADERS_FILE, findings);
    let mut blocks: Vec<(String, Block<'_>)> = Vec::new();
    let mut open = Open::Nothing;
    for (line, content) in lines(text) {
        if is_too_long(content) {
            let message =
                format!("the line is dropped: {} characters are the most at Cloudflare", super::LINE_UNITS_MAX);
            file.doubt(line, message, None);
        } else if is_path(content) {
            close(&mut file, &mut blocks, open);
            if blocks.len() == BLOCKS_MAX {
                let message = "this line and all below are dropped: 100 blocks are the most at Cloudflare";
                file.doubt(line, message, Some("put several paths into one with * or :name"));
                open = Open::Dropped;
                break;
            }
            open = match path(&mut file, line, content) {
                Some(path) => Open::Block(path, Block::new(line, content)),
                None => Open::Dropped,
            };
        } else {
            field(&mut file, &mut open, line, content);
        }
    }
    close(&mut file, &mut blocks, open);
    let blocks = without_duplicates(&mut file, blocks);
    let rules = blocks.into_iter().filter_map(|(path, block)| rule(&mut file, &path, block)).collect();
    file.sort();
    rules
}

fn is_path(content: &str) -> bool {
    let scheme = content.split_once("://").map(|(scheme, _)| scheme);
    content.starts_with('/') || scheme.is_some_and(|scheme| !scheme.is_empty() && !scheme.contains(char::is_whitespace))
}

fn close<'t>(file: &mut File<'_>, blocks: &mut Vec<(String, Block<'t>)>, open: Open<'t>) {
    match open {
        Open::Block(_, block) if block.is_empty() => block.check_bare(file),
        Open::Block(path, block) => blocks.push((path, block)),
        Open::Nothing | Open::Dropped => {}
    }
}

/// The path of a block, in the form of a URL, with its host if present.
fn path(file: &mut File<'_>, line: usize, content: &str) -> Option<String> {
    let (host, path) = match content.split_once("://").filter(|_| !content.starts_with('/')) {
        Some(("https", rest)) => {
            let rest = rest.trim_start_matches('/');
            rest.split_at(rest.find('/').unwrap_or(rest.len()))
        }
        Some((_, rest)) => {
            let message = format!("the block is dropped: {} is neither a path nor a URL of https://", quoted(content));
            file.doubt(line, message, write(&format!("https://{rest}")).as_deref());
            return None;
        }
        None => ("", content),
    };
    if let Some((name, port)) = host.rsplit_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        let message = format!("the block is dropped: {} names a port, which Cloudflare does not take", quoted(content));
        file.doubt(line, message, write(&format!("https://{name}{path}")).as_deref());
        return None;
    }
    if let Some(twice) = repeated_capture(content) {
        let message =
            format!("the block is dropped: `{twice}` can stand in {} only once at Cloudflare", quoted(content));
        let hint = if twice == "*" {
            "`*` takes :splat; one more part is taken by `:name`"
        } else {
            "give each a name of its own"
        };
        file.doubt(line, message, Some(hint));
        return None;
    }
    let slashed = if path.is_empty() { "/" } else { path };
    let Some(url) = url_of(slashed) else {
        file.mistake(line, format!("{} is no path", quoted(content)), None);
        return None;
    };
    if url.query().is_some() || url.fragment().is_some() {
        let meant = slashed.split(['?', '#']).next().unwrap_or_default();
        let message = format!("{} holds for every {}: Cloudflare drops the rest", quoted(content), quoted(meant));
        file.doubt(line, message, Some("a comment has a line of its own"));
    }
    let origin = if host.is_empty() { String::new() } else { format!("https://{host}") };
    Some(format!("{origin}{}", url.path()))
}

/// A line below a path.
fn field(file: &mut File<'_>, open: &mut Open<'_>, line: usize, content: &str) {
    if let Open::Block(_, block) = open {
        block.is_bare = false;
    }
    let Some((name, value)) = content.split_once(':') else {
        return match (open, content.strip_prefix("! ")) {
            (Open::Block(_, block), Some(name)) => block.remove(file, line, name.trim()),
            (Open::Dropped, _) => {}
            (Open::Nothing, _) => {
                let message = format!("{} stands before any path", quoted(content));
                file.mistake(line, message, Some("a path begins with /"));
            }
            (Open::Block(..), None) => {
                let hint = match content.strip_prefix('!') {
                    Some(name) => write(&format!("! {name}")),
                    None => Some("a field is written `Name: value`".to_owned()),
                };
                file.mistake(line, format!("{} is neither a path nor a field", quoted(content)), hint.as_deref());
            }
        };
    };
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() {
        return file.mistake(line, "the name of the field before the `:` is missing", None);
    }
    if name.contains(char::is_whitespace) {
        let hint = name.strip_prefix("! ").and_then(|name| write(&format!("! {}", name.trim())));
        return file.mistake(
            line,
            format!("the name of a field holds no space, as {} does", quoted(name)),
            hint.as_deref(),
        );
    }
    if value.is_empty() {
        let message = format!("the value of {} after the `:` is missing", quoted(name));
        return file.mistake(line, message, Some("a field is removed by `! Name`"));
    }
    match open {
        Open::Nothing => {
            let message = format!("{} stands before any path", quoted(name));
            file.mistake(line, message, Some("write the path, such as `/*`, above it"));
        }
        Open::Dropped => {}
        Open::Block(..) if name.eq_ignore_ascii_case("basic-auth") => {
            let message = "`Basic-Auth` has a meaning at Netlify alone, and at Cloudflare would show the passwords to \
                           everybody: the line is left out, and the path is open";
            file.doubt(line, message, Some("write `basic_auth` in a `[[headers]]` of devanture.toml"));
        }
        Open::Block(_, block) => block.set(file, line, name, value),
    }
}

/// Of blocks for the same path the last one stays, at the position of the first.
fn without_duplicates<'t>(file: &mut File<'_>, blocks: Vec<(String, Block<'t>)>) -> Vec<(String, Block<'t>)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<(String, Block<'t>)> = Vec::with_capacity(blocks.len());
    for (path, block) in blocks {
        match places.get(&path).and_then(|place| kept.get_mut(*place)) {
            Some((_, earlier)) => {
                let message = format!("the block of line {} for the same path takes the place of this one", block.line);
                file.doubt(earlier.line, message, Some("put both into one block"));
                *earlier = block;
            }
            None => {
                places.insert(path.clone(), kept.len());
                kept.push((path, block));
            }
        }
    }
    kept
}

fn rule(file: &mut File<'_>, path: &str, block: Block<'_>) -> Option<HeaderRule> {
    let path = file.pattern(block.line, path, Dialect::Cloudflare)?;
    let names = path.names();
    // Removals precede settings in a block, in any written order.
    let (removed, set): (Vec<_>, Vec<_>) = block.fields.into_iter().partition(|(_, value)| value.is_none());
    let change = |(name, value): (String, Option<String>)| match value {
        Some(value) => Change::Set { name, value: Template::parse(&value, &names) },
        None => Change::Remove(name),
    };
    let changes = removed.into_iter().chain(set).map(change).collect();
    Some(HeaderRule { at: file.at(block.line), path, changes, users: Vec::new(), force: false, joins: true })
}
