//! References of a style sheet: `url(…)`, `@import` and the texts of `image-set(…)`, with their places.

use cssparser::{ParseError, Parser, Token};

/// An address in a style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The offset of the first byte.
    pub(crate) at: usize,
    /// The text, with escapes resolved.
    pub(crate) target: String,
    /// Set for a further style sheet.
    pub(crate) is_import: bool,
}

/// Finds every address in `css`.
pub(crate) fn scan(css: &str, found: &mut dyn FnMut(Found)) {
    Scanner { rule: Rule::Other, found }.block(&mut Parser::new(css), false);
}

/// The current at-rule of the scanner, until its `;` or `{`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The first address is a style sheet.
    Import,
    /// Names and conditions, without loaded resources.
    Name,
    Other,
}

impl Rule {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "import" => Self::Import,
            "charset" | "document" | "-moz-document" | "namespace" => Self::Name,
            _ => Self::Other,
        }
    }
}

struct Scanner<'f> {
    rule: Rule,
    found: &'f mut dyn FnMut(Found),
}

impl Scanner<'_> {
    /// Reads a block, and its nested blocks, to the end; in an `image-set`, strings are addresses.
    fn block(&mut self, parser: &mut Parser<'_>, is_set: bool) {
        loop {
            let at = parser.position().byte_index();
            let Ok(token) = parser.next_including_whitespace_and_comments() else { return };
            match token {
                Token::AtKeyword(name) => self.rule = Rule::of(name),
                Token::Semicolon => self.rule = Rule::Other,
                Token::UnquotedUrl(target) => self.found(at, target),
                Token::QuotedString(target) if is_set || self.rule == Rule::Import => self.found(at, target),
                Token::Function(name) => match name.to_ascii_lowercase().as_str() {
                    "url" | "src" => nested(parser, |inside| {
                        if let Ok(target) = inside.expect_string() {
                            self.found(at, target);
                        }
                    }),
                    "image-set" | "-webkit-image-set" => nested(parser, |inside| self.block(inside, true)),
                    _ => nested(parser, |inside| self.block(inside, false)),
                },
                Token::CurlyBracketBlock => {
                    self.rule = Rule::Other;
                    nested(parser, |inside| self.block(inside, false));
                    self.rule = Rule::Other;
                }
                Token::ParenthesisBlock | Token::SquareBracketBlock => {
                    nested(parser, |inside| self.block(inside, false));
                }
                _ => {}
            }
        }
    }

    fn found(&mut self, at: usize, target: &str) {
        let is_import = self.rule == Rule::Import;
        match self.rule {
            // Layers, conditions and media follow the address.
            Rule::Import => self.rule = Rule::Name,
            Rule::Name => return,
            Rule::Other => {}
        }
        (self.found)(Found { at, target: target.to_owned(), is_import });
    }
}

/// Reads the block that has just begun. Blocks nested beyond the parser's limit are read as if not nested.
fn nested<'c>(parser: &mut Parser<'c>, read: impl FnOnce(&mut Parser<'c>)) {
    // The result tells only that `read` left a rest, such as the modifiers of a URL.
    drop(parser.parse_nested_block(|inside| {
        read(inside);
        Ok::<(), ParseError<()>>(())
    }));
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
            // A string ends with its line, and the next quote begins a new one.
            ("a{b:url(\"a\nb\");c:url(d.png)}", &[]),
            ("a{b:url(\"a\nb);c:url(d.png)}", &["d.png"]),
            ("a{b:url(\"a\\\nb.png\")}", &["ab.png"]),
            ("@font-face{src:local(\"x\"),url(a.woff2?#iefix)format(\"woff2\")}", &["a.woff2?#iefix"]),
            ("@media screen{a{b:url(a.png)}}", &["a.png"]),
            ("a{b:url()}", &[""]),
            // Names are written with escapes, too.
            ("@\\69mport \"a.css\";a{b:u\\72l(a.png);c:image\\-set(\"b.png\" 1x)}", &["@a.css", "a.png", "b.png"]),
            // A semicolon within the parentheses does not end the rule.
            ("a{b:image-set(var(--x,;) 1x, \"a.png\" 2x)}", &["a.png"]),
            ("a{b:url(\"a\r\nb);c:url(d.png)}", &["d.png"]),
            ("a{b:src(a.png);c:src(\"b.png\")}", &["b.png"]),
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
