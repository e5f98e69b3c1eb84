//! `init`: writes a first `devanture.toml` from what the project looks like, and says what was found and what is next.

mod backend;
mod config_text;
mod framework;
pub(crate) mod guess;
mod missing;
mod package;
mod pages;
mod project;
mod site_file;
mod tree;

use std::fs::OpenOptions;
use std::io::{Error, Write};
use std::path::Path;

use devanture_config::AppName;
use devanture_config::problem::Code;
use devanture_config::site_toml::SERVER_DIR;

use self::backend::Backend;
use self::guess::Guess;
use self::missing::Missing;
use self::site_file::site_file_text;
use self::tree::Disk;
use crate::args::InitArgs;
use crate::context::Context;
use crate::output::exit::Failure;

/// Requirements of a first push besides the file.
pub(crate) const SETTINGS_NEEDED: &str = "set DEVANTURE_URL and DEVANTURE_TOKEN, and DEVANTURE_CA for an edge with a \
    local authority (`tls/ca.pem` in its data folder)";
/// The command that comes after all else.
const PUSH: &str = "devanture push";

/// A key that was guessed, or should be said.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Guessed {
    key: &'static str,
    /// `None` where nothing was found.
    value: Option<String>,
    because: String,
}

/// `init`.
///
/// # Errors
/// `usage` where there is a file already and `--force` is not given, or where it cannot be written.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<(), Failure> {
    context.project.check_www(args.www.as_deref())?;
    let path = Path::new(&context.project.file_name);
    let chosen = context.settings.explicit_app()?.map(|setting| setting.value);
    let app = chosen.clone().or_else(|| app_of_folder(&context.project.folder));
    let app = app.map_or_else(|| "site".to_owned(), |app| app.to_string());
    let guess = guess::guess(&Disk::new(&context.project.folder), args.www.as_deref(), args.framework);
    let mut guessed = guessed(&guess, args.www.is_some());
    if chosen.is_none() {
        let because = "the name of this folder; --app says another".to_owned();
        guessed.insert(0, Guessed { key: "app", value: Some(app.clone()), because });
    }
    let text = site_file_text(&app, args.www.as_deref(), &guess);
    let next: Vec<&str> = guess.build.as_deref().into_iter().chain([PUSH]).collect();
    let value = serde_json::json!({
        "file": path,
        "app": app,
        "framework": guess.framework.map(|framework| framework.id.name()),
        "guessed": guessed,
        "notes": guess.notes,
        "next": next,
        "text": args.dry_run.then_some(text.as_str()),
    });
    if args.dry_run {
        context.output.write(&value, || text.lines().map(str::to_owned).collect());
        return Ok(());
    }
    write(path, &text, args.force)?;
    context.output.report(&value, || {
        let mut lines = vec![format!("Wrote {} for the app {app}.", path.display())];
        lines.extend(guessed.iter().map(line));
        lines.extend(guess.notes.iter().map(|note| format!("Note: {note}")));
        let build = guess.build.as_ref().map(|line| format!("`{line}`, ")).unwrap_or_default();
        lines.push(format!("Next: {build}{SETTINGS_NEEDED}, then `{PUSH}`."));
        lines
    });
    Ok(())
}

fn line(guessed: &Guessed) -> String {
    let value = guessed.value.as_deref().unwrap_or("not found");
    format!("  {:<9}  {value}  ({})", guessed.key, guessed.because)
}

/// Guesses, for a person to check.
fn guessed(guess: &Guess, is_www_chosen: bool) -> Vec<Guessed> {
    let mut found = Vec::new();
    let mut add = |key, value, because: &str| found.push(Guessed { key, value, because: because.to_owned() });
    if let Some(framework) = guess.framework {
        add("framework", Some(framework.name.to_owned()), &guess.shown_by);
    }
    match &guess.pages {
        Some(pages) => add("www", Some(pages.folder.clone()), &pages.because),
        None if is_www_chosen => {}
        None if guess.backend.is_some() => add("www", None, "only the backend would be pushed; say where pages are"),
        None => add("www", None, "say which folder your build writes, in the file"),
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

/// Writes a file that is not there yet; with `is_forced`, in place of one that is.
///
/// # Errors
/// `usage` where there is one, or where it cannot be written.
pub(crate) fn write(path: &Path, text: &str, is_forced: bool) -> Result<(), Failure> {
    let written = if is_forced { replace(path, text) } else { create(path, text) };
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already, and stays as it is.", path.display());
            Failure::new(Code::Usage, message).hint("--force replaces it")
        }
        _ => Failure::new(Code::Usage, format!("{} cannot be written: {error}.", path.display())),
    })
}

fn create(path: &Path, text: &str) -> Result<(), Error> {
    // `create_new` neither overwrites a file nor follows a link that stands there.
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Puts a whole file in the place of another, or of a link.
#[expect(clippy::disallowed_methods, reason = "the law about writes is the edge's; this file is in a repository")]
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let replaced = create(&new, text).and_then(|()| std::fs::rename(&new, path));
    if replaced.is_err() {
        std::fs::remove_file(&new).ok();
    }
    replaced
}

/// An app's name made of that of a folder.
pub(crate) fn app_of_folder(folder: &Path) -> Option<AppName> {
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
        let lines: Vec<String> = guessed(&found, false).iter().map(line).collect();
        let expected = [
            "  framework  Vue  (vue in package.json)",
            "  www        dist/www  (it has a page)",
            "  not_found  single-page-application  (its one page answers every path)",
            "  server     node server.js  (dist/server is there; it gets /api/*)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devanture.toml");
        write(&path, "one", false).unwrap();
        assert!(write(&path, "two", false).unwrap_err().hint.unwrap().contains("--force"));
        write(&path, "three", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        let taken = folder.path().join("folder");
        std::fs::create_dir(&taken).unwrap();
        assert!(write(&taken, "four", true).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
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
