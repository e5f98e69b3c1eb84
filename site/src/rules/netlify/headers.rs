//! `_headers` in Netlify's meaning: a path, then fields; all matching blocks apply.

use std::collections::HashMap;

use super::LINE_BYTES_MAX;
use crate::rules::headers::{Change, User};
use crate::rules::lines::{Block, File, lines, quoted, write};
use crate::rules::pattern::Dialect;
use crate::rules::template::Template;
use crate::rules::{Findings, HEADERS_FILE, HeaderRule};

/// A field that is never sent, but restricts access to a path.
const BASIC_AUTH: &str = "basic-auth";

/// Parses the file, up to one rule more than `rules_max`.
pub(super) fn read(text: &str, rules_max: usize, findings: &mut Findings) -> Vec<HeaderRule> {
    let mut file = File::new(HEADERS_FILE, findings);
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (line, content) in lines(text) {
        if content.len() > LINE_BYTES_MAX {
            file.mistake(line, format!("the line is too long: {LINE_BYTES_MAX} bytes are the most"), None);
        } else if content.starts_with('/') {
            if blocks.len() > rules_max {
                // The caller reports the excess.
                break;
            }
            blocks.push(Block::new(line, content));
        } else {
            if let Some(block) = blocks.last_mut() {
                block.is_bare = false;
            }
            field(&mut file, blocks.last_mut(), line, content);
        }
    }
    blocks.iter().for_each(|block| block.check_bare(&mut file));
    let blocks = without_duplicates(&mut file, blocks);
    let rules = blocks.into_iter().filter_map(|block| rule(&mut file, block)).collect();
    file.sort();
    rules
}

/// A line below a path.
fn field(file: &mut File<'_>, block: Option<&mut Block<'_>>, line: usize, content: &str) {
    let Some((name, value)) = content.split_once(':') else {
        // Netlify drops the line, which is unknown there; Cloudflare's meaning is the only possible one.
        if let (Some(block), Some(name)) = (block, content.strip_prefix("! ")) {
            return block.remove(file, line, name.trim());
        }
        let hint = if content.starts_with('!') {
            "a field is removed by `! Name`"
        } else {
            "a field is written `Name: value`"
        };
        return file.doubt(
            line,
            format!("{} is neither a path nor a field, and has no effect", quoted(content)),
            Some(hint),
        );
    };
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() {
        return file.mistake(line, "the name of the field before the `:` is missing", None);
    }
    if value.is_empty() {
        let message = format!("the value of {} after the `:` is missing", quoted(name));
        return file.mistake(line, message, Some("a field is removed by `! Name`"));
    }
    if value.starts_with("//") && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let path = value.trim_start_matches('/').split_once('/').map_or("/", |(_, path)| path);
        let hint = format!("write {}", quoted(&format!("/{}", path.trim_start_matches('/'))));
        let message =
            format!("{} is no path here, and has no effect: a block is for a path of every host", quoted(content));
        return file.doubt(line, message, Some(&hint));
    }
    let Some(block) = block else {
        let message = format!("{} stands before any path", quoted(name));
        return file.mistake(line, message, Some("write the path, such as `/*`, above it"));
    };
    if name.eq_ignore_ascii_case(BASIC_AUTH) {
        users(file, block, line, value);
    } else {
        block.set(file, line, name, &with_even_commas(value));
    }
}

/// `user:password user:password`; never quoted in a finding.
fn users(file: &mut File<'_>, block: &mut Block<'_>, line: usize, value: &str) {
    for (index, pair) in value.split_whitespace().enumerate() {
        match pair.split_once(':') {
            Some((name, password)) if !name.is_empty() => {
                block.admit(file, line, User { name: name.to_owned(), password: password.to_owned() });
            }
            _ => {
                let message = format!("number {} of the users has no name, `:` and password", index + 1);
                file.mistake(line, message, Some("write `Basic-Auth: name:password name:password`"));
            }
        }
    }
}

/// Netlify normalises the commas of every value, even within quotes.
fn with_even_commas(value: &str) -> String {
    value.split(',').map(str::trim).collect::<Vec<_>>().join(", ")
}

/// Of equal blocks the last one stays.
fn without_duplicates<'t>(file: &mut File<'_>, blocks: Vec<Block<'t>>) -> Vec<Block<'t>> {
    let mut last = HashMap::new();
    let mut kept = Vec::with_capacity(blocks.len());
    for block in blocks.into_iter().rev().filter(|block| !block.is_empty()) {
        let mut fields = block.fields.clone();
        fields.sort();
        let users: Vec<_> = block.users.iter().map(|user| (user.name.clone(), user.password.clone())).collect();
        if let Some(later) = last.get(&(block.path, fields.clone(), users.clone())) {
            let message = format!("the block of line {later} says the same: it counts there, and not here");
            file.doubt(block.line, message, Some("remove one of the two"));
            continue;
        }
        last.insert((block.path, fields, users), block.line);
        kept.push(block);
    }
    kept.reverse();
    kept
}

fn rule(file: &mut File<'_>, block: Block<'_>) -> Option<HeaderRule> {
    if let Some(end) = block.path.find(['?', '#']) {
        let path = block.path.get(..end).unwrap_or_default().trim_end();
        let message = format!("{} matches no path: what follows `?` or `#` is no part of one", quoted(block.path));
        file.doubt(block.line, message, write(path).as_deref());
        return None;
    }
    let path = file.pattern(block.line, block.path, Dialect::NetlifyHeaders)?;
    let change = |(name, value): (String, Option<String>)| match value {
        // Netlify has no capture placeholders in values.
        Some(value) => Change::Set { name, value: Template::parse(&value, &[]) },
        None => Change::Remove(name),
    };
    let changes = block.fields.into_iter().map(change).collect();
    Some(HeaderRule { at: file.at(block.line), path, changes, users: block.users, force: false, joins: false })
}
