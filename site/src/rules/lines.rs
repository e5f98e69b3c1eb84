//! Shared by `_redirects` and `_headers` of all providers: lines, fields, and the form of findings.

use std::cmp::Ordering;
use std::sync::Arc;

use devanture_config::parsing::Weight;

use super::headers::{User, VALUE_BYTES_MAX, is_field_name, is_field_value, reserved, unremovable};
use super::pattern::{BadPattern, Dialect, Pattern, next_name};
use super::template::known_name;
use super::{At, Findings};

/// Maximum fields and users of one block.
const FIELDS_MAX: usize = 500;
/// Maximum findings of each weight for one file: people read no more, and a hostile file has millions of lines.
const FINDINGS_MAX: usize = 1_000;
/// Maximum characters of a quoted text in a finding.
const QUOTED_CHARS_MAX: usize = 80;

/// The lines with content, trimmed, with their numbers from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.split('\n').enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// A file whose findings are sorted after parsing.
pub(super) struct File<'f> {
    name: Arc<str>,
    before: usize,
    mistakes: usize,
    doubts: usize,
    findings: &'f mut Findings,
}

impl<'f> File<'f> {
    pub(super) fn new(name: &str, findings: &'f mut Findings) -> Self {
        Self { name: name.into(), before: findings.0.len(), mistakes: 0, doubts: 0, findings }
    }

    pub(super) fn at(&self, line: usize) -> At {
        At { file: Arc::clone(&self.name), line }
    }

    pub(super) fn mistake(&mut self, line: usize, message: impl Into<String>, hint: Option<&str>) {
        self.add(line, Weight::Mistake, message.into(), hint);
    }

    pub(super) fn doubt(&mut self, line: usize, message: impl Into<String>, hint: Option<&str>) {
        self.add(line, Weight::Doubt, message.into(), hint);
    }

    fn add(&mut self, line: usize, weight: Weight, mut message: String, hint: Option<&str>) {
        let count = match weight {
            Weight::Mistake => &mut self.mistakes,
            Weight::Doubt => &mut self.doubts,
        };
        *count += 1;
        match (*count).cmp(&FINDINGS_MAX) {
            Ordering::Less => {}
            Ordering::Equal => message.push_str("; more of this weight is not listed"),
            Ordering::Greater => return,
        }
        let at = self.at(line);
        match weight {
            Weight::Mistake => self.findings.mistake(&at, message, hint),
            Weight::Doubt => self.findings.doubt(&at, message, hint),
        }
    }

    /// Parses the paths of a rule; a path that a provider accepts although no request can match is a warning.
    pub(super) fn pattern(&mut self, line: usize, text: &str, dialect: Dialect) -> Option<Pattern> {
        match Pattern::parse(text, dialect) {
            Ok(pattern) => return Some(pattern),
            Err(error @ BadPattern::Encoding(_)) => {
                self.doubt(line, format!("{error}, so that no path matches it"), Some("a percent sign is written %25"));
            }
            Err(error) => self.mistake(line, error.to_string(), None),
        }
        None
    }

    /// Sorts the findings by line, since some appear only at the end of a file.
    pub(super) fn sort(self) {
        if let Some(own) = self.findings.0.get_mut(self.before..) {
            own.sort_by_key(|finding| finding.line);
        }
    }
}

/// A text as quoted in a finding.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

/// A corrected line as a hint; `None` if too long to read.
pub(super) fn write(line: &str) -> Option<String> {
    (line.chars().count() <= 2 * QUOTED_CHARS_MAX).then(|| format!("write `{line}`"))
}

/// Reports parts of a destination that look like placeholders but stay literal.
pub(super) fn check_destination(file: &mut File<'_>, line: usize, to: &str, names: &[&str]) {
    if to.starts_with("//") {
        let host = to.trim_start_matches('/');
        let message = format!("{} leads to a path of this site, not to another host", quoted(to));
        file.doubt(
            line,
            message,
            Some(&format!("write {} or {}", quoted(&format!("https://{host}")), quoted(&format!("/{host}")))),
        );
    }
    let path = to.split_once("://").map_or(to, |(_, rest)| rest);
    if path.contains('*') {
        let message = format!("the `*` of the destination {} stays a `*`", quoted(to));
        file.doubt(line, message, Some("what the path's `*` took is written :splat"));
    }
    // A colon after a letter, as in `/wiki/Special:Search`, is hardly meant as a placeholder.
    let mut rest = path;
    while let Some((at, name)) = next_name(rest) {
        let is_apart = rest.get(..at).is_some_and(|before| before.ends_with(['/', '=']));
        let is_known = rest.get(at + 1..).is_some_and(|after| known_name(after, names).is_some());
        if is_apart && !is_known {
            let message =
                format!("`:{name}` stays as it is in the destination: nothing of that name is taken from the path");
            let known: Vec<String> = names.iter().map(|name| format!(":{name}")).collect();
            let hint = (!known.is_empty()).then(|| format!("there is {}", known.join(", ")));
            return file.doubt(line, message, hint.as_deref());
        }
        rest = rest.get(at + 1 + name.len()..).unwrap_or_default();
    }
}

/// One block of `_headers` during parsing: a path and its fields.
pub(super) struct Block<'t> {
    /// The line of the path.
    pub(super) line: usize,
    /// The path.
    pub(super) path: &'t str,
    /// Names in lower case; a field without a value is removed.
    pub(super) fields: Vec<(String, Option<String>)>,
    /// Users with access to the paths.
    pub(super) users: Vec<User>,
    /// True if the path has no lines.
    pub(super) is_bare: bool,
    is_full: bool,
}

impl<'t> Block<'t> {
    pub(super) const fn new(line: usize, path: &'t str) -> Self {
        Self { line, path, fields: Vec::new(), users: Vec::new(), is_bare: true, is_full: false }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.users.is_empty()
    }

    /// Reports that a path without lines has no effect: the lines of the next path are not shared.
    pub(super) fn check_bare(&self, file: &mut File<'_>) {
        if self.is_bare {
            let message = format!("no fields stand under {}, which has no effect", quoted(self.path));
            file.doubt(self.line, message, Some("each path has fields of its own"));
        }
    }

    /// Removes a field.
    pub(super) fn remove(&mut self, file: &mut File<'_>, line: usize, name: &str) {
        if let Some(name) = field_name(file, line, name, unremovable)
            && self.has_room(file, line)
        {
            self.fields.push((name, None));
        }
    }

    /// Sets a field, joined with earlier values of the same block.
    pub(super) fn set(&mut self, file: &mut File<'_>, line: usize, name: &str, value: &str) {
        let Some(name) = field_name(file, line, name, reserved) else { return };
        let earlier = self.fields.iter().position(|(known, value)| *known == name && value.is_some());
        let before = earlier.and_then(|at| self.fields.get(at)).and_then(|(_, value)| value.as_deref());
        let joined = before.map_or_else(|| value.to_owned(), |before| format!("{before}, {value}"));
        if !is_field_value(&joined) {
            let message = match joined.len() > VALUE_BYTES_MAX {
                true => format!("the value of `{name}` is too long: {VALUE_BYTES_MAX} bytes are the most"),
                false => format!("the value of `{name}` holds a character that a field cannot have"),
            };
            return file.mistake(line, message, None);
        }
        match earlier {
            Some(at) => {
                if name == "set-cookie" {
                    let message = "several `Set-Cookie` of one path are joined to one, as the provider does, and \
                                   browsers read that as one cookie";
                    file.doubt(line, message, Some("let one block set one cookie"));
                }
                if let Some((_, earlier)) = self.fields.get_mut(at) {
                    *earlier = Some(joined);
                }
            }
            None if self.has_room(file, line) => self.fields.push((name, Some(joined))),
            None => {}
        }
    }

    /// Gives a user access to the paths.
    pub(super) fn admit(&mut self, file: &mut File<'_>, line: usize, user: User) {
        if self.has_room(file, line) {
            self.users.push(user);
        }
    }

    fn has_room(&mut self, file: &mut File<'_>, line: usize) -> bool {
        let has_room = self.fields.len() + self.users.len() < FIELDS_MAX;
        if !has_room && !self.is_full {
            self.is_full = true;
            file.mistake(line, format!("this block says too much: {FIELDS_MAX} lines are the most"), None);
        }
        has_room
    }
}

/// The name of a field that a rule may change, in lower case.
fn field_name(
    file: &mut File<'_>,
    line: usize,
    text: &str,
    forbidden: fn(&str) -> Option<&'static str>,
) -> Option<String> {
    if !is_field_name(text) {
        file.mistake(line, format!("{} cannot be the name of a field", quoted(text)), None);
        return None;
    }
    let name = text.to_ascii_lowercase();
    if let Some(why) = forbidden(&name) {
        file.doubt(line, format!("a rule does not change `{text}`: {why}"), Some("remove the line"));
        return None;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        assert_eq!(lines("\n a b \r\n# c\n\t#\n\nd").collect::<Vec<_>>(), [(2, "a b"), (6, "d")]);
    }

    #[test]
    fn only_so_many_findings_are_reported() {
        let mut findings = Findings::default();
        let mut file = File::new("_headers", &mut findings);
        for line in 1..3_000 {
            file.doubt(line, "a doubt", None);
        }
        // Many warnings do not hide a mistake.
        file.mistake(1, "a mistake", None);
        file.sort();
        assert_eq!(findings.0.len(), FINDINGS_MAX + 1);
        assert_eq!(findings.0[1].message, "a mistake");
        assert!(findings.0[FINDINGS_MAX].message.ends_with("is not listed"));
    }

    #[test]
    fn a_long_text_is_repeated_in_part() {
        assert_eq!(quoted("/ä"), "`/ä`");
        assert_eq!(quoted(&"ä".repeat(100)).chars().count(), QUOTED_CHARS_MAX + 3);
        assert_eq!(write(&"ä".repeat(200)), None);
    }
}
