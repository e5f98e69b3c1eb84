//! A first `devanture.toml` from an analysis of the project, with all guesses and their reasons.

mod backend;
mod config_text;
mod framework;
mod framework_name;
pub(crate) mod guess;
mod missing;
mod package;
mod pages;
mod project;
mod site_file;
mod tree;

use std::fmt;
use std::path::Path;

use devanture_config::AppName;
use devanture_config::site_toml::SERVER_DIR;
use devanture_project::{Project, ProjectError};

use self::backend::Backend;
pub use self::framework_name::FrameworkName;
use self::guess::Guess;
use self::missing::Missing;
use self::site_file::site_file_text;
use self::tree::Disk;

/// What to do where the folder of the pages is not known.
const WHICH_FOLDER: &str = "build, then `devanture init --force` finds the folder, or name it: `devanture init --force .` takes \
    this folder as it is";

/// A key that was guessed, or should be set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GuessedKey {
    /// The key.
    pub key: &'static str,
    /// The value; `None` without a guess.
    pub value: Option<String>,
    /// The reason, as a part of a sentence.
    pub because: String,
}

impl fmt::Display for GuessedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("not found");
        write!(f, "{:<9}  {value}  ({})", self.key, self.because)
    }
}

/// A first `devanture.toml`, and its basis.
#[derive(Debug)]
pub struct Proposal {
    /// The app's name.
    pub app: String,
    /// The framework, if known.
    pub framework: Option<FrameworkName>,
    /// Guesses, for a person to check.
    pub guessed: Vec<GuessedKey>,
    /// Remarks for the user, as sentences.
    pub notes: Vec<String>,
    /// The shell command that writes the folder of the pages; `None` if the folder exists or is unknown.
    pub build: Option<String>,
    /// The text of the file.
    pub text: String,
}

/// Proposes a first file for `project`; `chosen_app`, `www` and `framework` are set by the user.
///
/// # Errors
/// `bad_config` if `www` leads out of the project.
pub fn propose(
    project: &Project,
    chosen_app: Option<AppName>,
    www: Option<&str>,
    framework: Option<FrameworkName>,
) -> Result<Proposal, ProjectError> {
    project.check_www(www)?;
    let is_chosen = chosen_app.is_some();
    let app = chosen_app.or_else(|| app_of_folder(&project.folder));
    let app = app.map_or_else(|| "site".to_owned(), |app| app.to_string());
    let guess = guess::guess(&Disk::new(&project.folder), www, framework);
    let mut guessed = guessed(&guess, www.is_some());
    if !is_chosen {
        let because = "the name of this folder; --app says another".to_owned();
        guessed.insert(0, GuessedKey { key: "app", value: Some(app.clone()), because });
    }
    let text = site_file_text(&app, www, &guess);
    let Guess { framework, notes, build, .. } = guess;
    Ok(Proposal { app, framework: framework.map(|framework| framework.id), guessed, notes, build, text })
}

/// Guesses, for a person to check.
fn guessed(guess: &Guess, is_www_chosen: bool) -> Vec<GuessedKey> {
    let mut found = Vec::new();
    let mut add = |key, value, because: &str| found.push(GuessedKey { key, value, because: because.to_owned() });
    if let Some(framework) = guess.framework {
        add("framework", Some(framework.name.to_owned()), &guess.shown_by);
    }
    match &guess.pages {
        Some(pages) => add("www", Some(pages.folder.clone()), &pages.because),
        None if is_www_chosen => {}
        None if guess.backend.is_some() => add("www", None, "only the backend would be pushed; say where pages are"),
        None => add("www", None, WHICH_FOLDER),
    }
    match &guess.missing {
        Missing::Application => {
            add("not_found", Some("single-page-application".to_owned()), "its one page answers every path");
        }
        Missing::ApplicationPage(page) => {
            add("rewrites", Some(format!("/* to /{page}")), "that page answers every other path");
        }
        Missing::NotFound => {}
    }
    match &guess.backend {
        Some(Backend::Command(words) | Backend::OnSocket(words)) => {
            add("server", Some(words.join(" ")), &format!("{SERVER_DIR} is there; it gets /api/*"));
        }
        Some(Backend::Procfile) => add("server", Some("Procfile".to_owned()), &format!("{SERVER_DIR} is there")),
        Some(Backend::Unknown) => {
            add("server", None, &format!("{SERVER_DIR} is there, but not what starts it: say `command` in the file"));
        }
        None => {}
    }
    found
}

/// Returns an app's name derived from the name of a folder.
#[must_use]
pub fn app_of_folder(folder: &Path) -> Option<AppName> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let name = folder.file_name()?.to_str()?.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(devanture_config::APP_CHARACTERS_MAX).collect();
    slug.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::guess::guess;
    use super::tree::tests::Files;
    use super::*;
    use devanture_config::site_toml::{NotFound, SiteFile};

    #[test]
    fn what_was_not_found_is_reported_as_such() {
        let nothing = |www| guess(&Files::default(), www, None);
        assert_eq!(guessed(&nothing(None), false)[0].value, None);
        assert_eq!(guessed(&nothing(Some("web")), true), []);
    }

    #[test]
    fn what_was_found_is_written_and_reported() {
        let files = Files::new(&[
            ("package.json", r#"{"dependencies":{"vue":"3"}}"#),
            ("dist/www/index.html", ""),
            ("dist/server/server.js", ""),
        ]);
        let found = guess(&files, None, None);
        let site = SiteFile::parse("devanture.toml", &site_file_text("shop", None, &found)).unwrap();
        assert_eq!(site.www.as_deref(), Some("dist/www"));
        assert_eq!(site.base.not_found, Some(NotFound::SinglePageApplication));
        assert_eq!(site.base.server.unwrap().command.unwrap(), ["node", "server.js"]);
        let lines: Vec<String> = guessed(&found, false).iter().map(|one| format!("  {one}")).collect();
        let expected = [
            "  framework  Vue  (vue in package.json)",
            "  www        dist/www  (it has a page)",
            "  not_found  single-page-application  (its one page answers every path)",
            "  server     node server.js  (dist/server is there; it gets /api/*)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_folder_gives_its_name_to_the_app() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            app_of_folder(&path).map(String::from)
        };
        assert_eq!(name("My Shop_2").as_deref(), Some("my-shop-2"));
        assert_eq!(name("--").as_deref(), None);
        assert_eq!(name(&"a-".repeat(30)).map(|n| n.len()), Some(39));
    }
}
