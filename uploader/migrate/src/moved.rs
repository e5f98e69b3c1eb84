//! The result of a conversion: the parts of a `devanture.toml`, and a note for every difference.

use std::fmt;

use devanture_config::rules::tables::{self, TableMistake};
use devanture_config::site_toml::rules::{HeadersTable, RedirectTable};
use devanture_config::site_toml::{HtmlHandling, NotFound, Rules, UpstreamUrl};
use devanture_site::rules::{At, Redirect, RuleTable};
use serde::Serialize;
use url::Url;

/// The subject of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// Could not be carried over.
    Lost,
    /// Was carried over, and is not quite the same here.
    Differs,
    /// Valid without a change, or settled in a way worth knowing.
    Stays,
}

/// A note for the moving person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file of the provider.
    pub file: String,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// The severity.
    pub kind: NoteKind,
    /// The setting, under the provider's name.
    pub setting: String,
    /// The message, as a sentence without its full stop.
    pub message: String,
    /// The replacement, if any.
    pub instead: Option<String>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}: {}", self.setting, self.message)?;
        match (&self.instead, self.kind) {
            (Some(instead), _) => write!(f, " ({instead})"),
            (None, NoteKind::Lost) => write!(f, " (nothing replaces it)"),
            (None, NoteKind::Differs | NoteKind::Stays) => Ok(()),
        }
    }
}

/// A redirect or a rewrite, depending on the containing list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The line of the provider's file.
    pub(crate) line: usize,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Of a redirect.
    pub(crate) status: Option<u16>,
    pub(crate) force: bool,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) languages: Vec<String>,
    pub(crate) cookies: Vec<String>,
    /// Set if the rule matches a folder itself here, and matched only paths below the folder there.
    pub(crate) takes_folder: bool,
}

impl Rule {
    /// Returns true if the rule is the same for every visitor and every query.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.query.is_empty() && self.languages.is_empty() && self.cookies.is_empty()
    }

    /// Returns the rule in the form of `devanture.toml`; else the mistake, and a correction.
    pub(crate) fn as_redirect(&self, kind: RuleTable) -> Result<Redirect, (String, Option<String>)> {
        let table = RedirectTable {
            cookies: self.cookies.clone(),
            force: self.force,
            from: self.from.clone(),
            host: None,
            languages: self.languages.clone(),
            query: self.query.iter().cloned().collect(),
            status: self.status,
            to: self.to.clone(),
        };
        if table.query.len() < self.query.len() {
            return Err((format!("`{}` asks for one parameter twice", self.from), None));
        }
        tables::redirect(&table, kind, At::default()).map_err(|mistakes| {
            let (why, instead) = why(mistakes);
            (format!("`{}`: {why}", self.from), instead)
        })
    }
}

/// An entry of `[[headers]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// The line of the provider's file.
    pub(crate) line: usize,
    pub(crate) path: String,
    pub(crate) set: Vec<(String, Vec<String>)>,
    pub(crate) basic_auth: Vec<String>,
}

/// A word of `devanture.toml` and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Justified<T> {
    pub(crate) word: T,
    pub(crate) because: String,
}

/// The converted parts of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The file's name, for notes and comments.
    pub(crate) file: String,
    pub(crate) app: Option<String>,
    pub(crate) www: Option<String>,
    /// Set if a build of the provider makes the pages; `None` if the file does not tell.
    pub(crate) is_built: Option<bool>,
    /// Globs of paths that were not served.
    pub(crate) exclude: Vec<String>,
    pub(crate) html_handling: Option<Justified<HtmlHandling>>,
    pub(crate) not_found: Option<Justified<NotFound>>,
    pub(crate) rules: Option<Rules>,
    /// Name and origin.
    pub(crate) upstreams: Vec<(String, String)>,
    pub(crate) redirects: Vec<Rule>,
    pub(crate) rewrites: Vec<Rule>,
    pub(crate) headers: Vec<Headers>,
    pub(crate) notes: Vec<Note>,
}

impl Moved {
    /// Creates an empty result.
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// Notes a setting that could not be carried over.
    pub(crate) fn lost(&mut self, line: usize, setting: &str, why: impl Into<String>, instead: Option<&str>) {
        self.note(line, NoteKind::Lost, setting, why.into(), instead);
    }

    /// Notes a setting with a small difference.
    pub(crate) fn differs(&mut self, line: usize, setting: &str, how: impl Into<String>, instead: Option<&str>) {
        self.note(line, NoteKind::Differs, setting, how.into(), instead);
    }

    /// Notes a fact worth knowing.
    pub(crate) fn stays(&mut self, line: usize, setting: &str, what: impl Into<String>, instead: Option<&str>) {
        self.note(line, NoteKind::Stays, setting, what.into(), instead);
    }

    fn note(&mut self, line: usize, kind: NoteKind, setting: &str, message: String, instead: Option<&str>) {
        let (setting, instead) = (setting.to_owned(), instead.map(str::to_owned));
        self.notes.push(Note { file: self.file.clone(), line, kind, setting, message, instead });
    }

    /// Adds a redirect; an invalid one is noted.
    pub(crate) fn redirect(&mut self, setting: &str, rule: Rule) {
        match Self::checked(&rule, RuleTable::Redirects) {
            Ok(_) => {
                if rule.takes_folder {
                    let folder = rule.from.trim_end_matches("/*");
                    let how = format!("`{}` takes `{folder}` too here", rule.from);
                    let instead = format!("from = \"{folder}/:name/*\" leaves it alone");
                    self.differs(rule.line, setting, how, Some(&instead));
                }
                insert(&mut self.redirects, rule);
            }
            Err((why, instead)) => self.lost(rule.line, setting, why, instead.as_deref()),
        }
    }

    /// Adds a rewrite, and the upstream if the target is a different site; an invalid rewrite is noted.
    pub(crate) fn rewrite(&mut self, setting: &str, rule: Rule) {
        match Self::checked(&rule, RuleTable::Rewrites) {
            Ok(Some(origin)) => match self.upstream(&origin) {
                Some(()) => insert(&mut self.rewrites, rule),
                None => {
                    let why = format!("`{}` leads to {origin}, whose host differs from request to request", rule.from);
                    self.lost(
                        rule.line,
                        setting,
                        why,
                        Some("write a rewrite for each host, and each host below [upstreams]"),
                    );
                }
            },
            Ok(None) => insert(&mut self.rewrites, rule),
            Err((why, instead)) => self.lost(rule.line, setting, why, instead.as_deref()),
        }
    }

    /// Returns the origin of the target, if any; else the reason why the rule is invalid, in the words of
    /// `devanture.toml`.
    fn checked(rule: &Rule, kind: RuleTable) -> Result<Option<String>, (String, Option<String>)> {
        let redirect = rule.as_redirect(kind)?;
        Ok(redirect.to.origin().map(str::to_owned))
    }

    /// Declares the origin as an upstream; `None` if it is not an origin.
    fn upstream(&mut self, origin: &str) -> Option<()> {
        // A placeholder in a host makes the host unreadable: the colon would begin a port.
        let origin = Url::parse(origin).ok()?.origin().ascii_serialization();
        origin.parse::<UpstreamUrl>().ok()?;
        if self.upstreams.iter().any(|(_, known)| *known == origin) {
            return Some(());
        }
        let place = origin.split_once("://").map_or(origin.as_str(), |(_, place)| place);
        let words: Vec<&str> =
            place.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        // A name has at most 64 characters; room is left for a suffix that makes it unique.
        let mut name: String = words.join("-").chars().take(40).collect();
        if name.is_empty() {
            name.push_str("upstream");
        }
        while self.upstreams.iter().any(|(known, _)| *known == name) {
            name.push_str("-2");
        }
        self.upstreams.push((name, origin));
        Some(())
    }

    /// Adds fields for one path; fields that a rule may not set are noted.
    pub(crate) fn fields(&mut self, setting: &str, mut rule: Headers) {
        let mut kept: Vec<(String, Vec<String>)> = Vec::new();
        for (name, values) in std::mem::take(&mut rule.set) {
            match kept.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                Some((_, known)) => known.extend(values),
                None => kept.push((name, values)),
            }
        }
        for (name, values) in &mut kept {
            if name.eq_ignore_ascii_case("set-cookie") && values.len() > 1 {
                self.differs(rule.line, setting, format!("`{name}` has one value here: the last"), None);
                values.drain(..values.len().saturating_sub(1));
            }
        }
        // Each field separately, so that the valid ones stay.
        for (name, values) in kept {
            match as_headers(&rule.path, [(&name, &values)], &[]) {
                Ok(()) => rule.set.push((name, values)),
                Err((why, instead)) => self.lost(rule.line, setting, why, instead.as_deref()),
            }
        }
        rule.basic_auth.retain(|user| match as_headers(&rule.path, [], std::slice::from_ref(user)) {
            Ok(()) => true,
            Err((why, instead)) => {
                let (line, file) = (rule.line, self.file.clone());
                let setting = setting.to_owned();
                self.notes.push(Note { file, line, kind: NoteKind::Lost, setting, message: why, instead });
                false
            }
        });
        if rule.set.is_empty() && rule.basic_auth.is_empty() {
            return;
        }
        let set = rule.set.iter().map(|(name, values)| (name, values));
        match as_headers(&rule.path, set, &rule.basic_auth) {
            Ok(()) => self.headers.push(rule),
            Err((why, instead)) => self.lost(rule.line, setting, why, instead.as_deref()),
        }
    }
}

/// Returns the error of a rule for fields in `devanture.toml`, and its correction.
fn as_headers<'h>(
    path: &str,
    set: impl IntoIterator<Item = (&'h String, &'h Vec<String>)>,
    basic_auth: &[String],
) -> Result<(), (String, Option<String>)> {
    let table = HeadersTable {
        basic_auth: basic_auth.to_vec(),
        force: false,
        path: path.to_owned(),
        remove: Vec::new(),
        set: set.into_iter().map(|(name, values)| (name.clone(), values.clone())).collect(),
    };
    tables::headers(&table, At::default()).map(drop).map_err(why)
}

/// Returns all mistakes of a table, and the first hint.
fn why(mistakes: Vec<TableMistake>) -> (String, Option<String>) {
    let hint = mistakes.iter().find_map(|mistake| mistake.hint.clone());
    let messages: Vec<String> = mistakes.into_iter().map(|mistake| mistake.message).collect();
    (messages.join("; "), hint)
}

/// Adds a rule at the end, or before the rule that would take its folder.
fn insert(rules: &mut Vec<Rule>, rule: Rule) {
    let below = format!("{}/*", rule.from.trim_end_matches('/'));
    match rules.iter().position(|earlier| earlier.takes_folder && earlier.from == below) {
        Some(at) => rules.insert(at, rule),
        None => rules.push(rule),
    }
}
