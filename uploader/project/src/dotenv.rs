//! Parses `.env` files: names and values, without expansion.
//!
//! The usual crates expand `$NAME` in a value from the process environment: the author of a `.env` in a pull request
//! could then send any secret of the environment to an address of their choice. This parser takes a `$` as a `$`, and
//! neither reads nor writes the process environment.

use std::collections::BTreeMap;

use devanture_config::AppName;
use devanture_config::parsing::{Mistake, Mistakes, Weight};

use crate::ProjectError;

/// The name of the file.
pub const FILE_NAME: &str = ".env";

/// Returns the file name for one app, which takes precedence over [`FILE_NAME`]: the name of an app cannot lead to a
/// different folder.
pub fn file_name_of(app: &AppName) -> String {
    format!("{FILE_NAME}.{app}")
}

/// The prefix of this program's own settings.
pub const OWN: &str = "DEVANTURE_";
/// The name of the setting that selects the app.
pub const APP_VARIABLE: &str = "DEVANTURE_APP";

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The values by name.
    pub values: BTreeMap<String, String>,
    /// The invalid lines.
    unread: Vec<Unread>,
}

/// An invalid line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unread {
    /// The number, from 1.
    line: usize,
    /// Set for a setting of this program.
    is_own: bool,
}

impl Parsed {
    /// Refuses invalid lines, all of them at once. The text of a line may be a secret, and is not repeated.
    ///
    /// # Errors
    /// `bad_config`.
    pub fn check(&self, file: &str) -> Result<(), ProjectError> {
        Self::refuse(file, &self.unread)
    }

    /// Like [`Parsed::check`], for settings of this program: the rest of the file may belong to a different program,
    /// with a form of its own.
    ///
    /// # Errors
    /// `bad_config`.
    pub(crate) fn check_own(&self, file: &str) -> Result<(), ProjectError> {
        let own: Vec<Unread> = self.unread.iter().filter(|unread| unread.is_own).copied().collect();
        Self::refuse(file, &own)
    }

    /// Returns the note about ignored lines, if any.
    pub fn passed_over(&self, file: &str) -> Option<String> {
        let first = self.unread.iter().find(|unread| !unread.is_own)?;
        let more = match self.unread.iter().filter(|unread| !unread.is_own).count().saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{file}:{}{more}: no `NAME=value`, and so passed over", first.line))
    }

    fn refuse(file: &str, unread: &[Unread]) -> Result<(), ProjectError> {
        if unread.is_empty() {
            return Ok(());
        }
        let mistake = |unread: &Unread| Mistake {
            file: file.to_owned(),
            line: unread.line,
            weight: Weight::Mistake,
            message: "This is no `NAME=value`.".to_owned(),
            hint: Some("a comment begins with #; only one of them may follow a closing quote".to_owned()),
        };
        Err(ProjectError::of_config(file, Mistakes(unread.iter().map(mistake).collect())))
    }
}

/// Parses `text`; for a repeated name the last value counts.
///
/// A line is `NAME=value` or `export NAME=value`, empty, or a comment that begins with `#`. A value is bare, up to ` #`
/// or the line's end; or in single quotes, taken unchanged; or in double quotes, with `\n`, `\r`, `\t`, `\"`, `\\` and
/// `\$`. Quoted values may span lines, and only a comment may follow them.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let (line, after_line) = rest.split_at(line_end);
        rest = after_line;
        let line_at = text.len() - after_line.len() - line.len();
        let number = || text.get(..line_at).unwrap_or_default().matches('\n').count() + 1;
        let Some((name, before_value)) = name_of(line) else {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                parsed.unread.push(Unread { line: number(), is_own: sets_own(line) });
            }
            continue;
        };
        let value_at = line_at + before_value;
        let value = text.get(value_at..).unwrap_or_default();
        let (value, consumed) = value_of(value);
        parsed.values.insert(name.to_owned(), value);
        // A quoted value may extend beyond its first line.
        let after_value = text.get(value_at + consumed..).unwrap_or_default();
        let left = after_value.lines().next().unwrap_or_default().trim_start();
        if !left.is_empty() && !left.starts_with('#') {
            // A quote that was closed too late may have swallowed a line about this program.
            let taken = text.get(line_at..value_at + consumed).unwrap_or_default();
            parsed.unread.push(Unread { line: number(), is_own: taken.lines().any(sets_own) });
        }
        if after_value.len() < rest.len() {
            rest = after_value.find('\n').and_then(|at| after_value.get(at + 1..)).unwrap_or_default();
        }
    }
    parsed
}

/// Returns the name in `line`, and the offset of the value.
fn name_of(line: &str) -> Option<(&str, usize)> {
    let (before, _) = line.split_once('=')?;
    let name = without_export(before.trim());
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    (begins_well && goes_on_well).then_some((name, before.len() + 1))
}

fn without_export(line: &str) -> &str {
    match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    }
}

/// Returns true if the name at the beginning of a line is a setting of this program. A later name is not considered.
fn sets_own(line: &str) -> bool {
    without_export(line.trim_start()).starts_with(OWN)
}

/// Parses the value at the beginning of `text`, and returns the number of consumed bytes.
fn value_of(text: &str) -> (String, usize) {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = text.get(blank..).unwrap_or_default();
    let quoted = match body.chars().next() {
        Some('\'') => single_quoted(body),
        Some('"') => double_quoted(body),
        _ => None,
    };
    match quoted {
        Some((value, consumed)) => (value, blank + consumed),
        // A quote that is never closed is a part of the value.
        None => bare(text),
    }
}

fn single_quoted(body: &str) -> Option<(String, usize)> {
    let inner = body.strip_prefix('\'')?;
    let end = inner.find('\'')?;
    Some((inner.get(..end)?.to_owned(), end + 2))
}

fn double_quoted(body: &str) -> Option<(String, usize)> {
    let inner = body.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, at + 2)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

fn bare(text: &str) -> (String, usize) {
    let line = text.lines().next().unwrap_or_default();
    let comment = line.char_indices().find(|(at, c)| {
        let before = line.get(..*at).and_then(|b| b.chars().next_back());
        *c == '#' && before.is_none_or(|b| b == ' ' || b == '\t')
    });
    let value = line.get(..comment.map_or(line.len(), |(at, _)| at)).unwrap_or_default();
    (value.trim().to_owned(), line.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Option<String> {
        parse(text).values.remove("A")
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        for (text, value) in [
            ("A=b", "b"),
            ("A = b \r\n", "b"),
            ("export A=b", "b"),
            ("\u{feff}A=b", "b"),
            ("A=", ""),
            ("A=b # said", "b"),
            ("A=b#c", "b#c"),
            ("A=# said", ""),
            ("A='b # c'", "b # c"),
            ("A=\"b\\nc\" # said", "b\nc"),
            ("A=\"b\nc\"\nB=d", "b\nc"),
            ("A=b=c", "b=c"),
            ("A='open", "'open"),
            ("A=1\nA=2", "2"),
            ("# A=1\nA=2", "2"),
            ("nonsense\nA=2", "2"),
        ] {
            assert_eq!(one(text).as_deref(), Some(value), "{text:?}");
        }
    }

    #[test]
    fn nothing_is_put_in_for_a_dollar_sign() {
        assert_eq!(one("A=https://example.org/$HOME/${PATH}").as_deref(), Some("https://example.org/$HOME/${PATH}"));
        assert_eq!(one("A=\"$HOME\"").as_deref(), Some("$HOME"));
    }

    #[test]
    fn what_stands_inside_of_quotes_sets_nothing() {
        let values = parse("KEY=\"-----BEGIN\nA=stolen\n-----END\"\nB=2\n").values;
        assert_eq!(values.keys().collect::<Vec<_>>(), ["B", "KEY"]);
    }

    #[test]
    fn every_line_that_cannot_be_read_is_named_by_its_number_alone() {
        let text = "# said\n\nA=1\r\nhush hush\n  # said\nexport B\nKEY=\"a\nb\" c\nD='e' # said\n=f\n1G=2\nH=i j\n";
        let parsed = parse(text);
        let lines: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
        assert_eq!(lines, [4, 6, 7, 10, 11]);
        let failure = parsed.check(".env").unwrap_err();
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("bad_config", ".env has 5 mistakes."));
        assert_eq!(failure.mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), lines);
        assert!(!failure.to_string().contains("hush"), "{failure}");
        assert_eq!(parse("A=b\n").check(".env"), Ok(()));
    }

    #[test]
    fn only_lines_about_this_program_are_its_own_matter() {
        for (text, is_own) in [
            ("export NODE_OPTIONS\n", false),
            ("DEBUG\n", false),
            ("FOO: bar\n", false),
            ("source ./other.env\n", false),
            ("if [ -n \"$CI\" ]; then\n  A=1\nfi\n", false),
            ("KEY=-----BEGIN\nMIIE/abc+def\n-----END\n", false),
            ("GREETING='tis\nOTHER='x'\n", false),
            ("A=\"b\" c\n", false),
            ("1G=2\n", false),
            ("export DEVANTURE_TOKEN\n", true),
            ("DEVANTURE_URL: https://e\n", true),
            ("DEVANTURE_TOKEN=\"a\" b\n", true),
            ("  export\tDEVANTURE_URL\n", true),
            ("DEVANTURE_URL\n", true),
            ("set DEVANTURE_APP=a\n", false),
            ("VITE_DEVANTURE_APP: x\n", false),
            ("export VITE_DEVANTURE_APP\n", false),
            ("note about DEVANTURE_TOKEN\n", false),
            ("VITE_DEVANTURE_APP=\"a\" b\n", false),
            ("A=\"b\" DEVANTURE_TOKEN=c\n", false),
            ("exportDEVANTURE_TOKEN\n", false),
            ("GREETING='tis\nDEVANTURE_TOKEN=a\nOTHER='x'\n", true),
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.check_own(".env").is_err(), is_own, "{text:?}");
            assert!(parsed.check(".env").is_err(), "{text:?}");
            assert_eq!(parsed.passed_over(".env").is_some(), !is_own, "{text:?}");
        }
        assert_eq!(parse("A=b\n").passed_over(".env"), None);
        let note = parse("A=b\nFOO: bar\nDEBUG\n").passed_over(".env").unwrap();
        assert!(note.starts_with(".env:2 and 1 more: "), "{note}");
    }

    fn quoted(value: &str) -> String {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\r', "\\r").replace('$', "\\$");
        format!("\"{escaped}\"")
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(values in proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,6}", ".{0,20}|[\"\\\\\\n$# ']{0,8}", 0..6)) {
            let text: String = values.iter().map(|(name, value)| format!("{name}={} # said\n", quoted(value))).collect();
            prop_assert_eq!(parse(&text), Parsed { values, unread: Vec::new() });
        }

        #[test]
        fn any_text_is_read_and_names_nothing_that_it_does_not_hold(text in "[A=\"'\\\\# \n$é]{0,60}") {
            for name in parse(&text).values.keys() {
                prop_assert!(text.contains(name.as_str()));
            }
        }

        #[test]
        fn a_plain_line_before_any_text_is_read(text in "[A=\"'\\\\# \n$é]{0,60}") {
            let values = parse(&format!("FIRST=1\n{text}")).values;
            prop_assert_eq!(values.get("FIRST").map(String::as_str), Some("1"));
        }
    }
}
