//! `Use-As-Dictionary` (RFC 9842 §2.1): the later requests for which a response serves as the dictionary.
//!
//! Only documents are distinguished by `match-dest`. A script is requested as `script`, `worker`, `serviceworker`, or
//! by a `fetch` without a destination, and a client prefers every dictionary with a destination to one without, however
//! much longer the latter's pattern is: so either all patterns of assets name the destination, or no pattern does.

use super::super::{fingerprint, target};

/// A path with a wildcard in one position, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern<'p> {
    pub(super) before: &'p str,
    pub(super) after: &'p str,
}

impl<'p> Pattern<'p> {
    /// The pattern of a fingerprinted file: its path, with a wildcard in place of the fingerprint. `None` for another
    /// file.
    ///
    /// The matching paths lie in the file's own folder or below.
    #[must_use]
    pub fn own(path: &'p str) -> Option<Self> {
        let (before, after) = fingerprint::pattern(path)?;
        Some(Self { before, after })
    }

    /// The pattern of [`Pattern::own`] for all files of the folder with the same ending.
    #[must_use]
    pub fn broad(path: &'p str) -> Option<Self> {
        let (before, _) = fingerprint::pattern(path)?;
        let folder = before.rfind('/').and_then(|slash| before.get(..=slash)).unwrap_or_default();
        let after = path.rfind('.').and_then(|dot| path.get(dot..))?;
        Some(Self { before: folder, after })
    }

    /// Returns true if the pattern matches a path.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        path.strip_prefix(self.before).is_some_and(|rest| rest.ends_with(self.after))
    }

    /// The pattern as a URL pattern.
    #[must_use]
    pub fn text(&self) -> String {
        format!("/{}*{}", literal(self.before), literal(self.after))
    }
}

/// The pattern of one path alone, with any query.
#[must_use]
pub fn exact_pattern(path: &str) -> String {
    format!("/{}", literal(path))
}

/// The value for a pattern, and an id by which a person recognises the dictionary in a browser's requests.
#[must_use]
pub fn use_as(pattern: &str, id: &str) -> String {
    format!("match={}, id={}", quoted(pattern), quoted(id))
}

/// The value of a dictionary for all pages.
#[must_use]
pub fn use_as_for_documents(id: &str) -> String {
    format!("match=\"/*\", match-dest=(\"document\"), id={}", quoted(id))
}

/// Text of a decoded path as a pattern that matches only the path: encoded as in a URL, and escaped.
fn literal(decoded: &str) -> String {
    let mut text = String::with_capacity(decoded.len());
    for character in target::encode_path(decoded).chars() {
        if matches!(character, '\\' | ':' | '{' | '}' | '(' | ')' | '?' | '+' | '*') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A string of a structured field (RFC 9651 §4.1.6); an encoded path is ASCII.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

    use super::*;

    fn pattern(path: &str) -> Option<String> {
        Pattern::own(path).map(|pattern| pattern.text())
    }

    fn broad_pattern(path: &str) -> Option<String> {
        Pattern::broad(path).map(|pattern| pattern.text())
    }

    /// Returns true if a URL pattern's path, of wildcards and escaped text alone, matches a path of a URL.
    fn matches(pattern: &str, path: &str) -> bool {
        let mut characters = pattern.chars();
        match characters.next() {
            None => path.is_empty(),
            Some('*') => {
                (0..=path.len()).any(|at| path.is_char_boundary(at) && matches(characters.as_str(), &path[at..]))
            }
            Some(character) => {
                let character =
                    if character == '\\' { characters.next().expect("something is escaped") } else { character };
                assert!(!":{}()?+".contains(character) || pattern.starts_with('\\'), "it has a meaning: {pattern}");
                path.strip_prefix(character).is_some_and(|rest| matches(characters.as_str(), rest))
            }
        }
    }

    /// The value of `match`.
    fn unquoted(value: &str) -> String {
        let members: Dictionary = Parser::new(value).parse().unwrap();
        let ListEntry::Item(Item { bare_item: BareItem::String(text), .. }) = &members["match"] else {
            panic!("it is a string: {value}")
        };
        text.as_str().to_owned()
    }

    #[test]
    fn anything_may_stand_where_the_fingerprint_stood() {
        for (path, expected) in [
            ("assets/app.3f2a91bc.js", Some("/assets/app.*.js")),
            ("assets/index-B3xY9_aZ.css", Some("/assets/index-*.css")),
            ("_next/static/chunks/1f9d2c3b4a5e6f70.js", Some("/_next/static/chunks/*.js")),
            ("assets/ä b-3f2a91bc.js", Some("/assets/%C3%A4%20b-*.js")),
            ("a(b)+c:d*/x{y}?.3f2a91bc.js", Some(r"/a\(b\)\+c\:d\*/x%7By%7D%3F.*.js")),
            ("assets/app.js", None),
            ("index.html", None),
        ] {
            assert_eq!(pattern(path).as_deref(), expected, "{path}");
        }
        assert_eq!(broad_pattern("assets/app.3f2a91bc.js").as_deref(), Some("/assets/*.js"));
        assert_eq!(broad_pattern("app.3f2a91bc.min.js").as_deref(), Some("/*.js"));
        assert_eq!(exact_pattern("docs/swagger-ui.js"), "/docs/swagger-ui.js");
    }

    #[test]
    fn a_pattern_is_quoted_as_a_structured_field_has_it() {
        assert_eq!(use_as("/assets/app.*.js", "a1"), "match=\"/assets/app.*.js\", id=\"a1\"");
        assert_eq!(use_as(r"/a\(b\).js", "a1"), r#"match="/a\\(b\\).js", id="a1""#);
    }

    proptest! {
        #[test]
        fn the_next_version_matches_and_nothing_outside_the_folder_does(
            folder in "([a-z(){}*+?:.ä %\\\\\"~-]{1,8}/){0,3}",
            name in "[a-zA-Z(){}*+?: ä'!]{1,10}",
            tokens in prop::collection::vec("[0-9][a-f][0-9][a-f][0-9]{2}[a-f][0-9]", 2),
            other in "[a-z]{1,6}",
        ) {
            let path = |token: &str| format!("{folder}{name}.{token}.js");
            let (old, new) = (path(&tokens[0]), path(&tokens[1]));
            prop_assume!(fingerprint::pattern(&old).is_some());
            let url = |path: &str| target::encode_path(&format!("/{path}"));
            let elsewhere = [format!("{other}0/{new}"), format!("{name}.{}.js", tokens[1])].map(|path| url(&path));
            let (more, made) = (url(&format!("{new}.map")), [pattern(&old).unwrap(), broad_pattern(&old).unwrap()]);
            for made in &made {
                prop_assert_eq!(&unquoted(&use_as(made, "a1")), made);
                prop_assert!(matches(made, &url(&new)) && !matches(made, &more), "{} {}", made, url(&new));
                // Every path lies below the root.
                prop_assert!(folder.is_empty() || elsewhere.iter().all(|path| !matches(made, path)), "{}", made);
            }
            for pattern in [Pattern::own(&old).unwrap(), Pattern::broad(&old).unwrap()] {
                for path in [&old, &new, &format!("{new}.map"), &format!("{other}0/{new}"), &format!("x{new}")] {
                    prop_assert_eq!(pattern.takes(path), matches(&pattern.text(), &url(path)), "{}", path);
                }
            }
            let exact = exact_pattern(&old);
            prop_assert!(matches(&exact, &url(&old)) && (old == new || !matches(&exact, &url(&new))));
        }
    }
}
