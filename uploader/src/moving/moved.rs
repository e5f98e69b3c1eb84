//! What came over from a provider: the parts of a `devanture.toml`, and a note for everything that is not the same.

use std::fmt;

use devanture_config::rules::pattern::Dialect;
use devanture_config::rules::redirect::Target;
use devanture_config::rules::{Pattern, headers, pattern};
use devanture_config::site_toml::{HtmlHandling, NotFound, Rules};
use serde::Serialize;
use url::Url;

/// The statuses of `[[redirects]]`.
const STATUSES: [u16; 8] = [301, 302, 303, 307, 308, 404, 410, 451];

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Could not be carried over.
    Lost,
    /// Was carried over, and is not quite the same here.
    Differs,
    /// Is as good as it is, or was settled in a way that somebody should know of.
    Stays,
}

/// One thing that somebody who moves should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    /// The file of the provider.
    pub(crate) file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// How much it matters.
    pub(crate) kind: Kind,
    /// Which setting, as the provider calls it.
    pub(crate) setting: String,
    /// What there is to know, as a sentence without its full stop.
    pub(crate) message: String,
    /// What to write or do instead; nothing where nothing replaces it.
    pub(crate) instead: Option<String>,
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
            (None, Kind::Lost) => write!(f, " (nothing replaces it)"),
            (None, Kind::Differs | Kind::Stays) => Ok(()),
        }
    }
}

/// A redirect or a rewrite; which of both says the list it stands in.
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
    /// Whether it takes a folder itself here, and took only what is below there.
    pub(crate) takes_folder: bool,
}

impl Rule {
    /// Whether it is the same for every visitor and every query.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.query.is_empty() && self.languages.is_empty() && self.cookies.is_empty()
    }
}

/// One of `[[headers]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// The line of the provider's file.
    pub(crate) line: usize,
    pub(crate) path: String,
    pub(crate) set: Vec<(String, Vec<String>)>,
    pub(crate) basic_auth: Vec<String>,
}

/// A word of `devanture.toml` and the reason why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said<T> {
    pub(crate) word: T,
    pub(crate) because: String,
}

/// Everything that came over from one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The file's name, as notes and comments have it.
    pub(crate) file: String,
    pub(crate) app: Option<String>,
    pub(crate) www: Option<String>,
    pub(crate) html_handling: Option<Said<HtmlHandling>>,
    pub(crate) not_found: Option<Said<NotFound>>,
    pub(crate) rules: Option<Rules>,
    /// Name and origin.
    pub(crate) upstreams: Vec<(String, String)>,
    pub(crate) redirects: Vec<Rule>,
    pub(crate) rewrites: Vec<Rule>,
    pub(crate) headers: Vec<Headers>,
    pub(crate) notes: Vec<Note>,
}

impl Moved {
    /// Begins with nothing.
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// Notes what could not be carried over.
    pub(crate) fn lost(&mut self, line: usize, setting: &str, why: impl Into<String>, instead: Option<&str>) {
        self.note(line, Kind::Lost, setting, why.into(), instead);
    }

    /// Notes what is not quite the same here.
    pub(crate) fn differs(&mut self, line: usize, setting: &str, how: impl Into<String>, instead: Option<&str>) {
        self.note(line, Kind::Differs, setting, how.into(), instead);
    }

    /// Notes what is good to know.
    pub(crate) fn stays(&mut self, line: usize, setting: &str, what: impl Into<String>, instead: Option<&str>) {
        self.note(line, Kind::Stays, setting, what.into(), instead);
    }

    fn note(&mut self, line: usize, kind: Kind, setting: &str, message: String, instead: Option<&str>) {
        let (setting, instead) = (setting.to_owned(), instead.map(str::to_owned));
        self.notes.push(Note { file: self.file.clone(), line, kind, setting, message, instead });
    }

    /// Adds a redirect; one that cannot be one here is noted.
    pub(crate) fn redirect(&mut self, setting: &str, rule: Rule) {
        let status = rule.status.unwrap_or(301);
        if !STATUSES.contains(&status) {
            let why = format!("`{}` has status {status}, which no redirect has here", rule.from);
            return self.lost(rule.line, setting, why, Some("one of 301, 302, 303, 307, 308, 404, 410, 451"));
        }
        match self.checked(&rule) {
            Ok(Some(origin)) if status >= 400 => {
                let why = format!("`{}` answers {status} with a page of {origin}", rule.from);
                self.lost(rule.line, setting, why, Some("put that page among the site's files"));
            }
            Ok(_) => {
                if rule.takes_folder {
                    let folder = rule.from.trim_end_matches("/*");
                    let how = format!("`{}` takes `{folder}` too here", rule.from);
                    let instead = format!("from = \"{folder}/:name/*\" leaves it alone");
                    self.differs(rule.line, setting, how, Some(&instead));
                }
                insert(&mut self.redirects, rule);
            }
            Err(why) => self.lost(rule.line, setting, why, None),
        }
    }

    /// Adds a rewrite, and the upstream where it leads to another site; one that cannot be one here is noted.
    pub(crate) fn rewrite(&mut self, setting: &str, rule: Rule) {
        match self.checked(&rule) {
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
            Err(why) => self.lost(rule.line, setting, why, None),
        }
    }

    /// The origin of the target, if it has one; else why the rule is none.
    fn checked(&self, rule: &Rule) -> Result<Option<String>, String> {
        let from = Pattern::parse(&rule.from, Dialect::Netlify).map_err(|error| error.to_string())?;
        let mut names = from.names();
        names
            .extend(rule.query.iter().filter_map(|(_, value)| value.strip_prefix(':').filter(|n| pattern::is_name(n))));
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
            return Err(format!("`{}` captures `:{name}` twice", rule.from));
        }
        let to = Target::parse(&rule.to, &names).map_err(|error| error.to_string())?;
        Ok(to.origin().map(str::to_owned))
    }

    /// Declares the origin as an upstream; nothing where it is no origin.
    fn upstream(&mut self, origin: &str) -> Option<()> {
        // A placeholder in a host makes it one that cannot be read: the colon would begin a port.
        let origin = Url::parse(origin).ok()?.origin().ascii_serialization();
        if self.upstreams.iter().any(|(_, known)| *known == origin) {
            return Some(());
        }
        let place = origin.split_once("://").map_or(origin.as_str(), |(_, place)| place);
        let words: Vec<&str> =
            place.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let mut name = words.join("-");
        while self.upstreams.iter().any(|(known, _)| *known == name) {
            name.push_str("-2");
        }
        self.upstreams.push((name, origin));
        Some(())
    }

    /// Adds fields for one path; those that a rule may not set are noted.
    pub(crate) fn fields(&mut self, setting: &str, mut rule: Headers) {
        if let Err(error) = Pattern::parse(&rule.path, Dialect::NetlifyHeaders) {
            return self.lost(rule.line, setting, error.to_string(), None);
        }
        let mut kept: Vec<(String, Vec<String>)> = Vec::new();
        for (name, values) in std::mem::take(&mut rule.set) {
            match field(&name, &values) {
                Err(why) => self.lost(rule.line, setting, format!("`{name}` cannot be set: {why}"), None),
                Ok(()) => match kept.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                    Some((_, known)) => known.extend(values),
                    None => kept.push((name, values)),
                },
            }
        }
        if let Some((name, _)) =
            kept.iter().find(|(name, values)| name.eq_ignore_ascii_case("set-cookie") && values.len() > 1)
        {
            self.differs(rule.line, setting, format!("`{name}` has one value here: the last"), None);
            for (_, values) in kept.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
                values.drain(..values.len().saturating_sub(1));
            }
        }
        rule.set = kept;
        if !rule.set.is_empty() || !rule.basic_auth.is_empty() {
            self.headers.push(rule);
        }
    }
}

/// Adds a rule at the end, or before the one that would take its folder from it.
fn insert(rules: &mut Vec<Rule>, rule: Rule) {
    let below = format!("{}/*", rule.from.trim_end_matches('/'));
    match rules.iter().position(|earlier| earlier.takes_folder && earlier.from == below) {
        Some(at) => rules.insert(at, rule),
        None => rules.push(rule),
    }
}

/// Why a field cannot be set.
fn field(name: &str, values: &[String]) -> Result<(), String> {
    if let Some(why) = headers::reserved(&name.to_ascii_lowercase()) {
        return Err(why.to_owned());
    }
    if !headers::is_field_name(name) {
        return Err("this is no name of a field".to_owned());
    }
    if values.iter().all(|value| value.trim().is_empty()) {
        return Err("it has no value".to_owned());
    }
    if !headers::is_field_value(&values.join(", ")) {
        return Err("its value is too long or holds control characters".to_owned());
    }
    Ok(())
}
