//! Moves a project to Devanture: converts other providers' configuration, and proposes a first `devanture.toml`.
//!
//! [`migrate`] reads the configuration of a [`Provider`]. `value` parses the provider's file, and `around` is the
//! folder of the file; `netlify`, `cloudflare`, `vercel` and `firebase` convert the settings, and note every
//! difference; `syntax` and `source` are their patterns of paths; `exclude` converts paths that were not served;
//! `moved` is the result, `settle` removes from it the rules that a check would warn about, and `toml_out` writes it.
//! All of these except `settle` convert text to text; only this module reads files.
//!
//! [`proposal`] is for a project without a provider: it analyzes the project and proposes a first file.

mod around;
mod clean_urls;
mod cloudflare;
mod exclude;
mod firebase;
mod moved;
mod netlify;
pub mod proposal;
mod provider;
mod settle;
mod source;
mod syntax;
mod toml_out;
mod value;
mod vercel;

use std::path::{Path, PathBuf};

use devanture_config::AppName;
use devanture_config::parsing::Mistakes;
use devanture_config::problem::Code;
use devanture_project::{Project, ProjectError, WWW, without_dot};
use devanture_site::rules::{HEADERS_FILE, REDIRECTS_FILE};

use self::around::Around;
use self::exclude::Ignored;
use self::moved::Moved;
pub use self::moved::{Note, NoteKind};
pub use self::proposal::FrameworkName;
use self::proposal::guess;
pub use self::provider::Provider;

/// The result of the conversion of a provider's configuration.
#[derive(Debug)]
pub struct Migration {
    /// The app's name.
    pub app: String,
    /// The text of the `devanture.toml`.
    pub text: String,
    /// All differences, by lines of the provider's file.
    pub notes: Vec<Note>,
    /// The number of redirects.
    pub redirects: usize,
    /// The number of rewrites.
    pub rewrites: usize,
    /// The number of rules of headers.
    pub headers: usize,
}

/// Converts the configuration of `provider` in the folder of `project`; `chosen_app` and `chosen_www` are the app and
/// the folder of the pages, if the user names them.
///
/// # Errors
/// `bad_config` with the mistakes of the provider's file, or if the folder of the pages leads out; `usage` if there is
/// no file to convert.
pub fn migrate(
    project: &Project,
    provider: Provider,
    chosen_app: Option<AppName>,
    chosen_www: Option<&str>,
) -> Result<Migration, ProjectError> {
    project.check_www(chosen_www)?;
    let folder = &project.folder;
    let has = |path: &str| folder.join(path).exists();
    let found = guess::folder_of_pages(folder);
    let www = chosen_www.or(found.as_deref()).unwrap_or(WWW);
    let around = Around { has: &has, www, is_explicit: chosen_www.is_some() };
    let mut moved = read(project, provider, chosen_app.as_ref(), &around)?;
    let app = app(&mut moved, chosen_app, folder);
    let www = chosen_www.map(str::to_owned).or_else(|| moved.www.clone()).or(found);
    let text_of = |moved: &Moved| toml_out::site_file(moved, provider.name(), &app, www.as_deref());
    settle::settle(project, &mut moved, &text_of);
    moved.notes.sort_by_key(|note| note.line);
    let text = text_of(&moved);
    let Moved { notes, redirects, rewrites, headers, .. } = moved;
    Ok(Migration { app, text, notes, redirects: redirects.len(), rewrites: rewrites.len(), headers: headers.len() })
}

/// Reads the provider's file.
///
/// # Errors
/// `usage` if the project has no file of the provider, `bad_config` with the mistakes of the file.
fn read(
    project: &Project,
    provider: Provider,
    app: Option<&AppName>,
    around: &Around<'_>,
) -> Result<Moved, ProjectError> {
    let (folder, boundary) = (&project.folder, project.boundary()?);
    let text = |file: &str| devanture_project::read_text(&folder.join(file), &boundary);
    let of =
        |file: &str, read: Result<Moved, Mistakes>| read.map_err(|mistakes| ProjectError::of_config(file, mistakes));
    // A site may have only rule files.
    let has_rule_file = || [REDIRECTS_FILE, HEADERS_FILE].iter().any(|file| around.in_www(None, file));
    match provider {
        Provider::Cloudflare => {
            let mut found = None;
            for file in cloudflare::FILES {
                if found.is_none() {
                    found = text(file)?.map(|text| (file, text));
                }
            }
            if found.is_none() && !has_rule_file() && !cloudflare::has_functions(around) {
                return Err(missing(folder, &cloudflare::FILES, around, true));
            }
            let found = found.as_ref().map(|(file, text)| (*file, text.as_str()));
            let mut moved = of(found.map_or("", |(file, _)| file), cloudflare::read(found, around))?;
            let ignored = format!("{}/{}", around.folder(moved.www.as_deref()), cloudflare::IGNORE_FILE);
            if let Some(text) = text(&ignored)? {
                exclude::ignore_file(&mut moved, around, (&ignored, &text), Ignored::Pages);
            }
            Ok(moved)
        }
        Provider::Firebase => match text(firebase::FILE)? {
            Some(text) => of(firebase::FILE, firebase::read(&text, app.map(AppName::as_str), around)),
            None => Err(missing(folder, &[firebase::FILE], around, false)),
        },
        Provider::Netlify => match text(netlify::FILE)? {
            None if !has_rule_file() => Err(missing(folder, &[netlify::FILE], around, true)),
            text => of(netlify::FILE, netlify::read(text.as_deref(), around)),
        },
        Provider::Vercel => match text(vercel::FILE)? {
            Some(json) => {
                let mut moved = of(vercel::FILE, vercel::read(&json, around))?;
                let is_built = moved.is_built.unwrap_or_else(|| guess::has_build(folder));
                let ignored = if is_built { Ignored::Sources } else { Ignored::Project };
                for file in vercel::IGNORE_FILES {
                    if let Some(lines) = text(file)? {
                        exclude::ignore_file(&mut moved, around, (file, &lines), ignored);
                        break;
                    }
                }
                Ok(moved)
            }
            None if (around.has)(vercel::PROGRAM) => {
                let program = without_dot(folder.join(vercel::PROGRAM));
                let message = format!("{} is a program, which is not run.", program.display());
                Err(ProjectError::new(Code::Usage, message).hint(format!("write what it makes to {}", vercel::FILE)))
            }
            None => Err(missing(folder, &[vercel::FILE], around, false)),
        },
    }
}

/// Returns the error of a missing configuration: none of `files` is in `folder`, nor a rule file among the pages if
/// that would be enough.
fn missing(folder: &Path, files: &[&str], around: &Around<'_>, or_rule_files: bool) -> ProjectError {
    let shown = |path: PathBuf| without_dot(path).display().to_string();
    let mut names: Vec<String> = files.iter().map(|file| shown(folder.join(file))).collect();
    if or_rule_files {
        let www = folder.join(around.folder(None));
        names.extend([REDIRECTS_FILE, HEADERS_FILE].map(|file| shown(www.join(file))));
    }
    let message = format!("There is no file {} to move from.", names.join(" or "));
    ProjectError::new(Code::Usage, message).hint(
        "run it in the folder of the site's project; `devanture init` writes a first devanture.toml without --from",
    )
}

/// Returns the app's name: from a setting, else from the provider, else from the folder.
fn app(moved: &mut Moved, chosen: Option<AppName>, folder: &Path) -> String {
    let theirs = moved.app.clone();
    let parsed = theirs.as_ref().and_then(|name| name.parse::<AppName>().ok());
    if let (None, None, Some(name)) = (&chosen, &parsed, &theirs) {
        let why = format!("`{name}` is not the name of an app");
        moved.lost(0, "name", why, Some("1 to 40 of a-z, 0-9 and single hyphens"));
    }
    let app = chosen.or(parsed).or_else(|| proposal::app_of_folder(folder));
    app.map_or_else(|| "site".to_owned(), |app| app.to_string())
}

/// Shared by the tests of all providers.
#[cfg(test)]
mod testing {
    use super::around::Around;
    use super::moved::{Moved, NoteKind};
    use super::toml_out;

    /// A folder without any files.
    pub(super) const NOTHING: Around<'static> = Around { has: &|_| false, www: "www", is_explicit: false };

    /// Each rule on one line: `from -> to status force`.
    pub(super) fn rules(moved: &Moved) -> Vec<String> {
        let rules = moved.redirects.iter().chain(&moved.rewrites);
        let lines = rules.map(|rule| {
            let mut line = format!("{} -> {}", rule.from, rule.to);
            line.extend(rule.status.map(|status| format!(" {status}")));
            line.push_str(if rule.force { " force" } else { "" });
            line.extend(rule.query.iter().map(|(name, value)| format!(" ?{name}={value}")));
            line.extend(rule.languages.iter().map(|language| format!(" {language}")));
            line.extend(rule.cookies.iter().map(|cookie| format!(" cookie:{cookie}")));
            line
        });
        lines.collect()
    }

    /// Each rule of headers on one line: `for Name: value`.
    pub(super) fn headers(moved: &Moved) -> Vec<String> {
        let line = |rule: &super::moved::Headers| {
            let fields: Vec<String> =
                rule.set.iter().map(|(name, values)| format!(" {name}: {}", values.join(" | "))).collect();
            format!("{}{}", rule.path, fields.join(";"))
        };
        moved.headers.iter().map(line).collect()
    }

    /// The notes of one kind, each with its line and setting.
    pub(super) fn notes(moved: &Moved, kind: NoteKind) -> Vec<String> {
        let of_kind = moved.notes.iter().filter(|note| note.kind == kind);
        of_kind.map(|note| format!("{} {}: {}", note.line, note.setting, note.message)).collect()
    }

    /// Writes the file and checks that it is valid.
    #[track_caller]
    pub(super) fn written(moved: &Moved) -> String {
        let text = toml_out::site_file(moved, "them", "shop", moved.www.as_deref());
        let parsed = devanture_config::site_toml::SiteFile::parse("devanture.toml", &text);
        assert!(parsed.is_ok(), "{}\n{text}", parsed.unwrap_err());
        text
    }
}

/// For any content of a provider's file, the output is a `devanture.toml`.
#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::testing::{NOTHING, written};
    use super::{firebase, netlify, vercel};

    /// Typical texts of such files, and typos of them.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/",
            "a",
            ":id",
            "*",
            ":splat",
            "(.*)",
            "https://",
            "x.example",
            "?",
            "=",
            "#",
            "{",
            "\"",
            "\n",
            "$1",
            "%",
            "\u{fc}",
            "\\",
            ":",
            " ",
            "!",
            "**",
            "[0-9]",
            "http://:id.x.example",
            "javascript:",
            "\t",
            "/index.html",
        ]);
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn path() -> impl Strategy<Value = String> {
        text().prop_map(|text| format!("/{text}"))
    }

    fn status() -> impl Strategy<Value = u16> {
        prop::sample::select(vec![200, 301, 302, 308, 404, 410, 451, 418, 999, 0])
    }

    fn field() -> impl Strategy<Value = String> {
        let names =
            vec!["X-A", "x-a", "Set-Cookie", "Cache-Control", "Server", "", "a b", "\u{fc}", "Location", "Basic-Auth"];
        prop::sample::select(names).prop_map(str::to_owned)
    }

    fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
        prop::collection::vec((field(), text()), 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_of_netlifys_file_parses(
            rules in prop::collection::vec((path(), text(), status(), any::<bool>(), text(), text()), 0..4),
            headers in prop::collection::vec((path(), fields()), 0..4),
        ) {
            let redirects: Vec<Value> = rules
                .into_iter()
                .map(|(from, to, status, force, condition, query)| json!({
                    "from": from, "to": to, "status": status, "force": force,
                    "conditions": { "Language": [&condition], "Cookie": [condition] }, "query": { &query: query },
                }))
                .collect();
            let headers: Vec<Value> = headers
                .into_iter()
                .map(|(path, fields)| {
                    let values: serde_json::Map<String, Value> =
                        fields.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
                    json!({ "for": path, "values": values })
                })
                .collect();
            let text = toml::to_string(&json!({ "redirects": redirects, "headers": headers })).unwrap();
            written(&netlify::read(Some(&text), &NOTHING).unwrap());
        }

        #[test]
        fn what_is_written_of_vercels_file_parses(
            rules in prop::collection::vec((path(), text(), status(), text()), 0..4),
            headers in prop::collection::vec((path(), fields()), 0..4),
        ) {
            let rule = |(source, destination, status, value): (String, String, u16, String)| json!({
                "source": source, "destination": destination, "statusCode": status,
                "has": [{ "type": "query", "key": &value, "value": &value }, { "type": "query", "key": &value }],
            });
            let plain = |(source, destination, status, _): (String, String, u16, String)| json!({
                "source": source, "destination": destination, "statusCode": status,
            });
            let header = |(source, fields): (String, Vec<(String, String)>)| {
                let fields: Vec<Value> =
                    fields.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
                json!({ "source": source, "headers": fields })
            };
            let rewrites: Vec<Value> = rules.iter().cloned().map(plain).collect();
            let redirects: Vec<Value> = rules.into_iter().map(rule).collect();
            let headers: Vec<Value> = headers.into_iter().map(header).collect();
            let text = json!({ "redirects": redirects, "rewrites": rewrites, "headers": headers }).to_string();
            written(&vercel::read(&text, &NOTHING).unwrap());
        }

        #[test]
        fn what_is_written_of_firebases_file_parses(
            rules in prop::collection::vec((path(), text(), status()), 0..4),
            headers in prop::collection::vec((path(), fields()), 0..4),
        ) {
            let redirects: Vec<Value> = rules
                .into_iter()
                .map(|(source, to, kind)| json!({ "source": source, "destination": to, "type": kind }))
                .collect();
            let header = |(source, fields): (String, Vec<(String, String)>)| {
                let fields: Vec<Value> =
                    fields.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
                json!({ "source": source, "headers": fields })
            };
            let headers: Vec<Value> = headers.into_iter().map(header).collect();
            let text = json!({ "hosting": { "redirects": redirects, "headers": headers } }).to_string();
            written(&firebase::read(&text, None, &NOTHING).unwrap());
        }
    }
}
