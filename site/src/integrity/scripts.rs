//! Addresses in scripts: imports, and texts that may be addresses of scripts. Pure.
//!
//! The module is no parser of JavaScript: a parser that loses its position in a regular expression would miss imports.
//! So every text between two equal quotes is checked, even between two literals: a surplus address either names a file
//! of the version or no file.

use std::collections::BTreeSet;

/// Bytes of an address.
const ADDRESS_BYTES_MAX: usize = 1_024;
/// Bytes of a comment between `import(` and the address, such as `/* @vite-ignore */`.
const COMMENT_BYTES_MAX: usize = 256;
/// Maximum comments before an address.
const COMMENTS_MAX: usize = 4;
/// The call that writes into a page, without the suffix of `writeln`.
const WRITE: &[u8] = b"document.write";
/// Bytes of the call's text to search.
const WRITTEN_BYTES_MAX: usize = 2_048;
/// Start of a script tag.
const SCRIPT_TAG: &[u8] = b"<script";
/// Addresses of one script.
const ADDRESSES_MAX: usize = 20_000;

/// An address in a script.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScriptAddress {
    /// The address as written.
    pub text: String,
    /// True if imported, rather than a text that could be the address of a script.
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
    for text in escaped(source) {
        if found.len() < ADDRESSES_MAX {
            found.insert(ScriptAddress { text, is_import: true });
        }
    }
    found.into_iter().collect()
}

/// The texts that a script assigns as the address of an element, such as of a script that it adds to the page, and the
/// addresses of scripts that it writes into the page; each with its position.
pub fn added(source: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let is_address = |(start, text): &(usize, &str)| {
        let before = start.checked_sub(1).and_then(|quote| source.get(..quote)).unwrap_or_default();
        let path = text.split(['?', '#']).next().unwrap_or_default();
        (path.ends_with(".js") || path.ends_with(".mjs")) && is_source(before.trim_ascii_end())
    };
    quoted(source).filter(is_address).chain(written(source))
}

/// The addresses of script tags in the text of `document.write`.
fn written(source: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let calls = source.windows(WRITE.len()).enumerate().filter(|(_, window)| *window == WRITE);
    calls.filter_map(|(at, _)| literal(source, at.saturating_add(WRITE.len()))).flat_map(|(begin, text)| {
        let mut from = 0;
        std::iter::from_fn(move || {
            loop {
                let tag = position(text.get(from..)?, SCRIPT_TAG)?;
                from = from.saturating_add(tag).saturating_add(SCRIPT_TAG.len());
                if let Some((start, address)) = source_of_tag(text, from) {
                    return Some((begin.saturating_add(start), address));
                }
            }
        })
    })
}

/// The text argument of a call whose name ends at `at`, or `ln` later, with its position.
fn literal(source: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let rest = source.get(at..)?;
    let rest = rest.strip_prefix(b"ln").unwrap_or(rest).trim_ascii_start();
    let rest = rest.strip_prefix(b"(")?.trim_ascii_start();
    let (quote, rest) = rest.split_first().filter(|(quote, _)| b"\"'`".contains(quote))?;
    let near = rest.get(..WRITTEN_BYTES_MAX.min(rest.len()))?;
    let is_end =
        |at: &usize| near.get(*at) == Some(quote) && near.get(..*at).is_some_and(|before| !before.ends_with(b"\\"));
    let length = (0..near.len()).find(is_end).unwrap_or(near.len());
    Some((source.len().saturating_sub(rest.len()), near.get(..length)?))
}

/// The value of the attribute `src` of the tag whose name ends at `from`, also with escaped quotes.
fn source_of_tag(text: &[u8], from: usize) -> Option<(usize, &str)> {
    let tag = text.get(from..)?;
    let tag = tag.get(..tag.iter().position(|byte| *byte == b'>').unwrap_or(tag.len()))?;
    let is_name = |text: &[u8]| {
        let (gap, name) = text.split_at_checked(1).unwrap_or_default();
        gap.trim_ascii_start().is_empty() && name.eq_ignore_ascii_case(b"src")
    };
    let name = tag.windows(4).position(is_name)?;
    let after = tag.get(name.saturating_add(4)..)?;
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"\\\"'`$".contains(byte);
    let signs = after.iter().take_while(|byte| **byte == b'=' || is_end(byte)).count();
    after.get(..signs)?.contains(&b'=').then_some(())?;
    let value = after.get(signs..)?;
    let length = value.iter().position(is_end).unwrap_or(value.len()).min(ADDRESS_BYTES_MAX);
    let start = from.saturating_add(name).saturating_add(4).saturating_add(signs);
    let value = str::from_utf8(value.get(..length)?).ok()?;
    // A concatenated address begins in another text.
    (!value.is_empty() && !value.starts_with(['+', '{'])).then_some((start, value))
}

/// The position of a lower-case word, in any case.
fn position(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

/// Returns true if the text after `before` is assigned to a field `src`.
fn is_source(before: &[u8]) -> bool {
    if let Some(field) = before.strip_suffix(b"=") {
        return field.trim_ascii_end().ends_with(b".src");
    }
    let Some(name) = before.strip_suffix(b",").map(<[u8]>::trim_ascii_end) else { return false };
    let name = [&b"\"src\""[..], b"'src'"].iter().find_map(|own| name.strip_suffix(*own));
    name.and_then(|call| call.trim_ascii_end().strip_suffix(b"(")).is_some_and(|call| call.ends_with(b"setAttribute"))
}

/// The addresses of imports written with escapes, as `"/l\u0061te.js"`.
fn escaped(source: &[u8]) -> impl Iterator<Item = String> {
    let quotes = source.iter().enumerate().filter(|(_, byte)| matches!(byte, b'"' | b'\''));
    quotes.filter_map(move |(at, quote)| {
        let start = at.saturating_add(1);
        let near = source.get(start..start.saturating_add(ADDRESS_BYTES_MAX).min(source.len()))?;
        let text = near.get(..near.iter().position(|byte| matches!(byte, b'\n' | b'\r') || byte == quote)?)?;
        let is_escaped = text.contains(&b'\\') && is_imported(source.get(..at)?);
        is_escaped.then(|| unescaped(str::from_utf8(text).ok()?)).flatten()
    })
}

/// A text without its escapes; `None` for an escape that no address needs.
fn unescaped(text: &str) -> Option<String> {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let kind = escape.chars().next()?;
        let after = escape.get(kind.len_utf8()..)?;
        let (digits, end) = match kind {
            'x' => (after.get(..2)?, after.get(2..)?),
            'u' if after.starts_with('{') => after.get(1..)?.split_once('}')?,
            'u' => (after.get(..4)?, after.get(4..)?),
            '/' | '.' | '-' => {
                plain.push(kind);
                rest = after;
                continue;
            }
            _ => return None,
        };
        plain.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = end;
    }
    plain.push_str(rest);
    Some(plain)
}

/// The texts between two equal quotes that could be addresses, each with its position.
fn quoted(source: &[u8]) -> impl Iterator<Item = (usize, &str)> {
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

/// The address in a text at a position.
fn address(source: &[u8], start: usize, text: &str) -> Option<ScriptAddress> {
    let is_import = is_imported(source.get(..start.checked_sub(1)?)?);
    (is_import || is_script(text)).then(|| ScriptAddress { text: text.to_owned(), is_import })
}

/// Returns true if a text could be the address of a script, at any position.
fn is_script(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let is_path = ["./", "../", "/"].iter().any(|begin| text.starts_with(begin));
    is_path && (path.ends_with(".js") || path.ends_with(".mjs"))
}

/// Returns true if an address after `before` is imported. An apparent comment may be part of a text, such as
/// `"http://a"`, so both readings count.
fn is_imported(before: &[u8]) -> bool {
    ends_with_import(without_comment(before.trim_ascii_end())) || ends_with_import(without_comments(before))
}

/// Returns true if `before` ends with the start of an import.
fn ends_with_import(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    if is_word(before, b"from") || is_word(before, b"import") {
        return true;
    }
    let Some(callee) = before.strip_suffix(b"(").map(<[u8]>::trim_ascii_end) else { return false };
    let callee = [&b".defer"[..], b".source"].iter().find_map(|phase| callee.strip_suffix(*phase)).unwrap_or(callee);
    is_word(callee, b"import")
}

/// The text without the comments at its end.
fn without_comments(mut text: &[u8]) -> &[u8] {
    for _ in 0..COMMENTS_MAX {
        let trimmed = text.trim_ascii_end();
        let is_line = text.get(trimmed.len()..).is_some_and(|end| end.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
        let shorter = without_comment(if is_line { without_line_comment(trimmed) } else { trimmed });
        if shorter.len() == trimmed.len() {
            return trimmed;
        }
        text = shorter;
    }
    text.trim_ascii_end()
}

/// The text without the line comment at its end.
fn without_line_comment(text: &[u8]) -> &[u8] {
    let near = text.get(text.len().saturating_sub(COMMENT_BYTES_MAX)..).unwrap_or_default();
    let line = near.rsplit(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let begin = line.windows(2).position(|two| two == b"//");
    begin.and_then(|begin| text.get(..text.len().saturating_sub(line.len()).saturating_add(begin))).unwrap_or(text)
}

/// The text without the block comment at its end.
fn without_comment(text: &[u8]) -> &[u8] {
    let Some(inner) = text.strip_suffix(b"*/") else { return text };
    let from = inner.len().saturating_sub(COMMENT_BYTES_MAX);
    let near = inner.get(from..).unwrap_or_default();
    let begin = near.windows(2).rposition(|two| two == b"/*");
    begin.and_then(|begin| text.get(..from.saturating_add(begin))).unwrap_or(text)
}

/// Returns true if `text` ends with `word`, neither as a part of a longer name nor as a field.
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
    fn imports_are_found_behind_comments_and_escapes() {
        for source in [
            "import '/l\\u0061te.js'",
            "import(\"/l\\u{61}te.js\")",
            "import \"\\/l\\x61te\\.js\"",
            "import(//x\n'/late.js')",
            "import( // a\r\n // b\n /* c */ '/late.js')",
            "import /* a */ // b\n '/late.js'",
            "import 'http://a'; import b from\n'/late.js'",
        ] {
            let found = script_addresses(source.as_bytes());
            assert!(
                found.contains(&ScriptAddress { text: "/late.js".to_owned(), is_import: true }),
                "{source} {found:?}"
            );
        }
        for source in ["const a = '/l\\u0061te.js'", "import '/late\\n.js'", "import '\\u{110000}'"] {
            assert!(script_addresses(source.as_bytes()).iter().all(|one| !one.is_import), "{source}");
        }
    }

    #[test]
    fn scripts_that_a_script_adds_are_found() {
        let source = br#"s.src = "/a.js";s.src='https://b.example/b.js?id='+i;s.setAttribute("src", "/c.mjs");
            i.src="/no.png";t("src","/no.js");a=="/no.js";new Worker("/no.js");src="/no.js""#;
        let found: Vec<&str> = added(source).map(|(_, text)| text).collect();
        assert_eq!(found, ["/a.js", "https://b.example/b.js?id=", "/c.mjs"]);
    }

    #[test]
    fn scripts_that_a_script_writes_are_found() {
        let source = br#"document.write('<script src="/a.js"><\/script>');
            document.writeln("<SCRIPT async SRC=\"//b.example/b.js\"><\/script><p>");
            document.write("<scr"+"ipt src='/no.js'></scr"+"ipt>"); document.write('<script src=' + c + '><\/script>');
            document.write(`<script src=/d.js?e=${f}><\/script><script defer src='/g.js'><\/script>`);
            document.write("<script>h()<\/script>"); write('<script src="/no.js"><\/script>');"#;
        let found: Vec<(usize, &str)> = added(source).collect();
        let texts: Vec<&str> = found.iter().map(|(_, text)| *text).collect();
        assert_eq!(texts, ["/a.js", "//b.example/b.js", "/d.js?e=", "/g.js"]);
        assert!(found.iter().all(|(at, text)| source[*at..].starts_with(text.as_bytes())), "{found:?}");
        // A tag of the page itself is no text of the preceding script.
        let page = br#"<script>document.write("<p>hi")</script><script src="/own.js"></script>"#;
        assert_eq!(added(page).count(), 0);
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
            let is_there = |one: &ScriptAddress| source.contains('\\') || source.contains(&one.text);
            prop_assert!(script_addresses(source.as_bytes()).iter().all(is_there));
        }
    }
}
