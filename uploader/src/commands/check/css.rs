//! References of a style sheet: `url(…)`, `@import` and the texts of `image-set(…)`, with their places.
//!
//! A scanner of the tokens that matter here (CSS Syntax 3 §4.3): comments, texts and escapes are read as a browser
//! reads them, everything else is passed over. It goes through the text once and never back.

/// An address in a style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The byte at which it begins.
    pub(crate) at: usize,
    /// The text, with escapes resolved.
    pub(crate) target: String,
    /// Whether it is another style sheet.
    pub(crate) is_import: bool,
}

/// Finds every address in `css`.
pub(crate) fn scan(css: &str, found: &mut dyn FnMut(Found)) {
    Scanner { bytes: css.as_bytes(), css, at: 0, rule: Rule::Other, sets: Vec::new() }.run(found);
}

/// The current at-rule of the scanner, until its `;` or `{`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Its first address is a style sheet.
    Import,
    /// Names and conditions, which nothing is loaded from.
    Name,
    Other,
}

struct Scanner<'c> {
    bytes: &'c [u8],
    css: &'c str,
    at: usize,
    rule: Rule,
    /// For each parenthesis that is open: whether it is that of an `image-set`.
    sets: Vec<bool>,
}

/// Deepest nesting of parentheses that is followed.
const DEPTH_MAX: usize = 256;

impl Scanner<'_> {
    fn run(&mut self, found: &mut dyn FnMut(Found)) {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'/' if self.peek(1) == Some(b'*') => self.comment(),
                b'"' | b'\'' => self.text(byte, found),
                b'@' => self.at_keyword(),
                b';' | b'{' | b'}' => {
                    self.rule = Rule::Other;
                    self.sets.clear();
                    self.at += 1;
                }
                b'(' => self.open(false),
                b')' => {
                    self.sets.pop();
                    self.at += 1;
                }
                _ if is_name_start(byte) => self.name(found),
                // A number and its unit, or a hash: no function begins in the middle of it.
                _ if is_name(byte) || byte == b'#' => self.skip_name(),
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn open(&mut self, is_set: bool) {
        if self.sets.len() < DEPTH_MAX {
            self.sets.push(is_set);
        }
        self.at += 1;
    }

    fn comment(&mut self) {
        let rest = self.css.get(self.at + 2..).unwrap_or_default();
        self.at = rest.find("*/").map_or(self.bytes.len(), |end| self.at + 2 + end + 2);
    }

    /// A text in quotes, whose first is here.
    fn text(&mut self, quote: u8, found: &mut dyn FnMut(Found)) {
        let at = self.at;
        let text = self.quoted(quote);
        let is_import = self.rule == Rule::Import;
        if is_import || self.sets.last() == Some(&true) {
            self.found(at, text, is_import, found);
        }
    }

    fn found(&mut self, at: usize, target: Option<String>, is_import: bool, found: &mut dyn FnMut(Found)) {
        if self.rule == Rule::Import {
            // What follows the address are layers, conditions and media.
            self.rule = Rule::Name;
        } else if self.rule == Rule::Name {
            return;
        }
        if let Some(target) = target {
            found(Found { at, target, is_import });
        }
    }

    /// Reads a text to its other quote; `None` if a line ends first, which makes it none.
    fn quoted(&mut self, quote: u8) -> Option<String> {
        self.at += 1;
        let mut text = String::new();
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                _ if byte == quote => {
                    self.at += 1;
                    return Some(text);
                }
                b'\n' => return None,
                b'\\' => self.escape(&mut text, true),
                _ => self.push(&mut text),
            }
        }
        Some(text)
    }

    fn push(&mut self, text: &mut String) {
        match self.css.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(character) => {
                text.push(character);
                self.at += character.len_utf8();
            }
            None => self.at += 1,
        }
    }

    /// An escape, whose backslash is here (CSS Syntax 3 §4.3.7).
    fn escape(&mut self, text: &mut String, in_quotes: bool) {
        self.at += 1;
        let digits = (0..6).take_while(|ahead| self.peek(*ahead).is_some_and(|b| b.is_ascii_hexdigit())).count();
        if digits > 0 {
            let value = self.css.get(self.at..self.at + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let character = value.and_then(char::from_u32).filter(|character| *character != '\0');
            text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            self.at += digits;
            if self.peek(0).is_some_and(|byte| byte.is_ascii_whitespace()) {
                self.at += 1;
            }
        } else if in_quotes && self.peek(0) == Some(b'\n') {
            // A text that goes on in the next line.
            self.at += 1;
        } else {
            self.push(text);
        }
    }

    fn at_keyword(&mut self) {
        self.at += 1;
        let start = self.at;
        self.skip_name();
        let name = self.css.get(start..self.at).unwrap_or_default().to_ascii_lowercase();
        self.rule = match name.as_str() {
            "import" => Rule::Import,
            "charset" | "document" | "-moz-document" | "namespace" => Rule::Name,
            _ => Rule::Other,
        };
    }

    fn skip_name(&mut self) {
        // Whatever stands here is passed over, even where it is no name.
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.escape(&mut String::new(), false),
                _ if is_name(byte) || (byte == b'#' && self.at == start) => self.at += 1,
                _ => break,
            }
        }
    }

    /// A name, which may be that of a function.
    fn name(&mut self, found: &mut dyn FnMut(Found)) {
        let start = self.at;
        self.skip_name();
        if self.peek(0) != Some(b'(') {
            return;
        }
        let name = self.css.get(start..self.at).unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "url" | "src" => self.url(start, found),
            "image-set" | "-webkit-image-set" => self.open(true),
            _ => self.open(false),
        }
    }

    /// `url(…)`, whose parenthesis is here.
    fn url(&mut self, start: usize, found: &mut dyn FnMut(Found)) {
        self.at += 1;
        self.skip_whitespace();
        let target = match self.peek(0) {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote),
            _ => self.bare(),
        };
        // What may follow a text in quotes, such as modifiers, and a bare address that is none.
        while let Some(byte) = self.peek(0) {
            match byte {
                b')' => {
                    self.at += 1;
                    break;
                }
                b';' | b'{' | b'}' => break,
                b'\\' => self.escape(&mut String::new(), false),
                _ => self.at += 1,
            }
        }
        let is_import = self.rule == Rule::Import;
        self.found(start, target, is_import, found);
    }

    fn skip_whitespace(&mut self) {
        while self.peek(0).is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// An address without quotes (CSS Syntax 3 §4.3.6).
    fn bare(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(byte) = self.peek(0) {
            match byte {
                b')' => return Some(text),
                b'"' | b'\'' | b'(' => return None,
                b'\\' if self.peek(1) == Some(b'\n') => return None,
                b'\\' => self.escape(&mut text, false),
                _ if byte.is_ascii_whitespace() => {
                    self.skip_whitespace();
                    return matches!(self.peek(0), Some(b')') | None).then_some(text);
                }
                _ => self.push(&mut text),
            }
        }
        Some(text)
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'\\') || !byte.is_ascii()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn targets(css: &str) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        scan(css, &mut |found| all.push((found.target, found.is_import)));
        all
    }

    #[test]
    fn addresses_are_found_where_a_browser_loads_them() {
        for (css, expected) in [
            ("a { background: url(a.png) }", &["a.png"][..]),
            ("a { background: URL( \"a b.png\" ), url('c.png') }", &["a b.png", "c.png"]),
            ("a{b:url(a\\29 b\\ c.png)}", &["a)b c.png"]),
            (
                "@import \"a.css\";@import url(b.css) screen;@IMPORT 'c.css' layer(\"x\");",
                &["@a.css", "@b.css", "@c.css"],
            ),
            ("@import url(\"a.css\") supports(background: url(x.png));", &["@a.css"]),
            ("/* url(no.png) */ a{content:\"url(no.png)\"}", &[]),
            ("@namespace svg url(http://www.w3.org/2000/svg); a{b:url(a.png)}", &["a.png"]),
            ("a{b:image-set(\"a.png\" 1x, \"b.png\" type(\"image/png\"))}", &["a.png", "b.png"]),
            ("a{b:my-url(a.png);c:1url(b.png);d:#url(c.png)}", &[]),
            ("a{b:url(a.png", &["a.png"]),
            ("a{b:url(a b.png);c:url(d.png)}", &["d.png"]),
            ("a{b:url(\"a\nb\");c:url(d.png)}", &["d.png"]),
            ("a{b:url(\"a\\\nb.png\")}", &["ab.png"]),
            ("@font-face{src:local(\"x\"),url(a.woff2?#iefix)format(\"woff2\")}", &["a.woff2?#iefix"]),
            ("@media screen{a{b:url(a.png)}}", &["a.png"]),
            ("a{b:url()}", &[""]),
        ] {
            let found: Vec<String> =
                targets(css).into_iter().map(|(t, import)| if import { format!("@{t}") } else { t }).collect();
            assert_eq!(found, expected, "{css}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_to_its_end(css in "[a-z@\\\\(){};:\"'/* \\n#\\u{fc}-]{0,80}|(?s).{0,60}") {
            let mut last = 0;
            scan(&css, &mut |found| {
                assert!(found.at >= last && css.is_char_boundary(found.at));
                last = found.at;
            });
        }

        #[test]
        fn an_address_that_is_written_is_found(name in "[a-zA-Z0-9./_-]{1,20}", before in "[a-z ;{}:]{0,20}") {
            let css = format!("{before};x{{background:url(\"{name}\")}}");
            let found = targets(&css);
            prop_assert_eq!(found, vec![(name, false)]);
        }
    }
}
