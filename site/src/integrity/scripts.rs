//! Addresses in scripts: what they import, and what else may be a script. Pure.
//!
//! This is no parser of JavaScript, and one that loses its place in a regular expression would miss imports. So every
//! text between two quotes of a kind is looked at, also where that is between two literals: what is found beside the
//! imports are addresses of files that the version has or not.

use std::collections::BTreeSet;

/// Bytes of an address.
const ADDRESS_BYTES_MAX: usize = 1_024;
/// Bytes of a comment between `import(` and the address, such as `/* @vite-ignore */`.
const COMMENT_BYTES_MAX: usize = 256;
/// Addresses of one script.
const ADDRESSES_MAX: usize = 20_000;

/// An address in a script.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScriptAddress {
    /// As it is written.
    pub text: String,
    /// Whether it is imported, and not just a text that could be the address of a script.
    pub is_import: bool,
}

/// The addresses in a script, each once.
#[must_use]
pub fn script_addresses(source: &[u8]) -> Vec<ScriptAddress> {
    let mut found = BTreeSet::new();
    for (start, text) in quoted(source) {
        if found.len() < ADDRESSES_MAX {
            found.extend(address(source, start, text));
        }
    }
    found.into_iter().collect()
}

/// The texts between two quotes of a kind that could be addresses, each with the byte at which it begins.
pub fn quoted(source: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let mut open: Option<(usize, u8)> = None;
    source.iter().copied().enumerate().filter_map(move |(at, byte)| match byte {
        b'"' | b'\'' | b'`' => {
            let before = open.replace((at.saturating_add(1), byte));
            let (start, _) = before.filter(|(_, quote)| *quote == byte)?;
            let text = source.get(start..at).filter(|text| !text.is_empty() && text.len() <= ADDRESS_BYTES_MAX)?;
            Some((start, str::from_utf8(text).ok().filter(|text| !text.contains("${"))?))
        }
        b'\n' | b'\r' | b'\\' => {
            open = None;
            None
        }
        _ => None,
    })
}

/// The address that a text at a place is.
fn address(source: &[u8], start: usize, text: &str) -> Option<ScriptAddress> {
    let is_import = is_imported(source.get(..start.checked_sub(1)?)?);
    (is_import || is_script(text)).then(|| ScriptAddress { text: text.to_owned(), is_import })
}

/// Whether a text could be the address of a script, wherever it stands.
fn is_script(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let is_path = ["./", "../", "/"].iter().any(|begin| text.starts_with(begin));
    is_path && (path.ends_with(".js") || path.ends_with(".mjs"))
}

/// Whether an address after `before` is imported.
fn is_imported(before: &[u8]) -> bool {
    let before = without_comment(before.trim_ascii_end());
    if is_word(before, b"from") || is_word(before, b"import") {
        return true;
    }
    let Some(callee) = before.strip_suffix(b"(").map(<[u8]>::trim_ascii_end) else { return false };
    let callee = [&b".defer"[..], b".source"].iter().find_map(|phase| callee.strip_suffix(*phase)).unwrap_or(callee);
    is_word(callee, b"import")
}

/// The text without a comment at its end.
fn without_comment(text: &[u8]) -> &[u8] {
    let Some(inner) = text.strip_suffix(b"*/") else { return text };
    let from = inner.len().saturating_sub(COMMENT_BYTES_MAX);
    let near = inner.get(from..).unwrap_or_default();
    let begin = near.windows(2).rposition(|two| two == b"/*");
    begin.and_then(|begin| text.get(..from.saturating_add(begin))).map_or(text, <[u8]>::trim_ascii_end)
}

/// Whether `text` ends with a word that is no part of a longer name, and no field.
fn is_word(text: &[u8], word: &[u8]) -> bool {
    let Some(before) = text.strip_suffix(word) else { return false };
    !before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(byte) || *byte >= 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn imports_are_found_as_people_and_tools_write_them() {
        let source = r#"import a from "./a.js";import'../b.js';import*as c from`/c.js`;export*from"d";
            import("./e.js"); import( /* @vite-ignore */ './f.css' );const u=/['"]/;import("g");"no";
            import.defer("./h.wasm"); lib.from("no2"); transform("no3"); import(`./${no4}.js`); "./no5.css";
            new Worker("/w.mjs?x"); load("no6.js");"#;
        let found = script_addresses(source.as_bytes());
        let seen = |is_import: bool| {
            let all = found.iter().filter(move |one| one.is_import == is_import);
            all.map(|one| one.text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(seen(true), ["../b.js", "./a.js", "./e.js", "./f.css", "./h.wasm", "/c.js", "d", "g"]);
        assert_eq!(seen(false), ["/w.mjs?x"]);
    }

    #[test]
    fn a_regular_expression_with_quotes_hides_no_import() {
        let source = br#"const q=/['"`]/g,r=/["]/;import("./a.js").then(x=>x);import{b}from"./b.js";"#;
        let found: Vec<String> = script_addresses(source).into_iter().map(|one| one.text).collect();
        assert_eq!(found, ["./a.js", "./b.js"]);
    }

    proptest! {
        #[test]
        fn anything_is_a_script(source in "(import|from|[\"'`/*\\\\(){}.,$é \n]|[a-c./]{1,6}){0,60}") {
            prop_assert!(script_addresses(source.as_bytes()).iter().all(|one| source.contains(&one.text)));
        }
    }
}
