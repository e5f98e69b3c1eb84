//! `init`: writes a first `devanture.toml` from what the project looks like, and says what was guessed.

pub(crate) mod guess;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use devanture_config::AppName;
use devanture_config::problem::Code;
use devanture_config::site_toml::{self, SERVER_DIR, SiteFile};
use devanture_config::text::toml_text::quoted;

use self::guess::{Backend, Guess};
use crate::args::InitArgs;
use crate::context::Context;
use crate::output::exit::Failure;

/// Requirements of a first push besides the file.
pub(crate) const SETTINGS_NEEDED: &str = "set DEVANTURE_URL and DEVANTURE_TOKEN, and DEVANTURE_CA for an edge with a \
    local authority (`tls/ca.pem` in its data folder)";

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
/// `usage` where there is a file already, or where it cannot be written.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<(), Failure> {
    context.project.check_www(args.www.as_deref())?;
    let path = Path::new(&context.project.file_name);
    let chosen = context.settings.explicit_app()?.map(|setting| setting.value);
    let app = chosen.clone().or_else(|| app_of_folder(&context.project.folder));
    let app = app.map_or_else(|| "site".to_owned(), |app| app.to_string());
    let guess = guess::guess(&context.project.folder, args.www.as_deref());
    let mut guessed = guessed(&guess, args.www.is_some());
    if chosen.is_none() {
        let because = "the name of this folder; --app says another".to_owned();
        guessed.insert(0, Guessed { key: "app", value: Some(app.clone()), because });
    }
    let text = site_file_text(&app, args.www.as_deref(), &guess);
    if args.dry_run {
        let value = serde_json::json!({ "file": path, "text": text, "guessed": guessed });
        context.output.write(&value, || text.lines().map(str::to_owned).collect());
        return Ok(());
    }
    write_new(path, &text)?;
    let value = serde_json::json!({ "file": path, "app": app, "guessed": guessed });
    context.output.report(&value, || {
        let mut lines = vec![format!("Wrote {} for the app {app}.", path.display())];
        lines.extend(guessed.iter().map(line));
        lines.push(format!("Next: {SETTINGS_NEEDED}, then `devanture push`."));
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
    match &guess.pages {
        Some(pages) => add("www", Some(pages.folder.clone()), &pages.because),
        None if is_www_chosen => {}
        None if guess.backend.is_some() => add("www", None, "only the backend would be pushed; say where pages are"),
        None => add("www", None, "say which folder your build writes, in the file"),
    }
    if let (true, Some(framework)) = (guess.is_single_page, guess.framework) {
        let because = format!("{} in package.json, and one page", framework.name);
        add("not_found", Some("single-page-application".to_owned()), &because);
    }
    match &guess.backend {
        Some(Backend::Command(words)) => {
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

/// Writes a file that is not there yet.
///
/// # Errors
/// `usage` where there is one, or where it cannot be written.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    // `create_new` neither overwrites a file nor follows a link that stands there.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Code::Usage, format!("{} is there already, and stays as it is.", path.display()))
        }
        _ => Failure::new(Code::Usage, format!("{} cannot be written: {error}.", path.display())),
    })
}

/// An app's name made of that of a folder.
pub(crate) fn app_of_folder(folder: &Path) -> Option<AppName> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let name = folder.file_name()?.to_str()?.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(devanture_config::APP_CHARACTERS_MAX).collect();
    slug.trim_end_matches('-').parse().ok()
}

/// The output of `init`.
fn site_file_text(app: &str, chosen: Option<&str>, guess: &Guess) -> String {
    let www = match chosen.or_else(|| guess.pages.as_ref().map(|pages| pages.folder.as_str())) {
        Some(www) => format!("www = {:<33} # what your build writes, relative to this file", quoted(www)),
        None => format!("# {:<37} # the folder that your build writes, relative to this file", "www = \"dist\""),
    };
    let not_found = match (guess.is_single_page, guess.framework) {
        (true, Some(framework)) => format!(
            "{:<39} # {}: deep links get index.html\n",
            "not_found = \"single-page-application\"", framework.name
        ),
        _ => format!("# {:<37} # or \"single-page-application\", \"none\"\n", "not_found = \"404-page\""),
    };
    let routes = r#"
[[routes]]                              # a path that goes to a backend of yours, on the same origin
path = "/api/*"
to = "http://127.0.0.1:3000"
"#;
    let routes = match &guess.backend {
        Some(_) => String::new(),
        None => commented(routes),
    };
    let server = match &guess.backend {
        Some(Backend::Command(words)) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            let command = format!("command = [{}]", words.join(", "));
            format!(
                "\n[server]                                # the backend in {SERVER_DIR}, which the edge runs\n\
                 {command:<39} # $PORT names the port to listen on\n\
                 routes = [\"/api/*\"]                     # the paths that it answers\n"
            )
        }
        Some(Backend::Procfile) => {
            format!("\n# The backend in {SERVER_DIR} is started as the Procfile says; it answers /api/*.\n")
        }
        Some(Backend::Unknown) => commented(&format!(
            "\n[server]                                # the backend in {SERVER_DIR}, which the edge runs\n\
             command = [\"node\", \"server.js\"]         # what starts it there\n\
             routes = [\"/api/*\"]                     # the paths that it answers\n"
        )),
        None => commented(&format!(
            "\n[server]                                # a backend of yours that goes along, and that the edge runs\n\
             command = [\"node\", \"server.js\"]         # in the folder {SERVER_DIR}, or what dir = \"…\" says\n"
        )),
    };
    let text = format!(
        r#"app = {}
{www}

# html_handling = "auto-trailing-slash"   # or "force-trailing-slash", "drop-trailing-slash", "none", "as-is"
{not_found}# rules = "netlify"                       # whose meaning _redirects and _headers have; or "cloudflare"
{routes}{server}
# [env.staging]                           # any of the above again, for one environment
# not_found = "none"
"#,
        quoted(app)
    );
    debug_assert!(SiteFile::parse(site_toml::FILE_NAME, &text).is_ok(), "{text}");
    text
}

/// Lines as comments.
fn commented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("# {line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::guess::{Pages, framework_of};
    use super::*;

    fn nothing() -> Guess {
        Guess { pages: None, backend: None, framework: None, is_single_page: false }
    }

    #[test]
    fn what_init_writes_is_read_back() {
        let www = "a \"b\" \\ c\n\u{1}\u{7f}";
        let text = site_file_text("shop", Some(www), &nothing());
        let site = SiteFile::parse("devanture.toml", &text).unwrap();
        assert_eq!(site.app.unwrap().as_str(), "shop");
        assert_eq!(site.www.as_deref(), Some(www));
        assert!(site.base.is_empty() && site.env.is_empty());
        let command = Backend::Command(vec!["node".to_owned(), "a \"b\".js".to_owned()]);
        for backend in [None, Some(Backend::Procfile), Some(Backend::Unknown), Some(command)] {
            let text = site_file_text("shop", Some("dist"), &Guess { backend, ..nothing() });
            SiteFile::parse("devanture.toml", &text).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("# The "));
            let uncommented: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
            SiteFile::parse("devanture.toml", &uncommented.join("\n")).unwrap();
        }
    }

    #[test]
    fn what_was_not_found_is_not_written() {
        let text = site_file_text("shop", None, &nothing());
        assert_eq!(SiteFile::parse("devanture.toml", &text).unwrap().www, None, "{text}");
        assert_eq!(guessed(&nothing(), false)[0].value, None);
        assert_eq!(guessed(&nothing(), true), []);
    }

    #[test]
    fn what_was_found_is_written_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(folder.path().join("package.json")).unwrap();
        file.write_all(br#"{"dependencies":{"vue":"3"}}"#).unwrap();
        let found = Guess {
            pages: Some(Pages { folder: "dist/www".to_owned(), because: "it has a page".to_owned() }),
            backend: Some(Backend::Command(vec!["node".to_owned(), "server.js".to_owned()])),
            framework: framework_of(folder.path()),
            is_single_page: true,
        };
        let site = SiteFile::parse("devanture.toml", &site_file_text("shop", None, &found)).unwrap();
        assert_eq!(site.www.as_deref(), Some("dist/www"));
        assert_eq!(site.base.not_found, Some(site_toml::NotFound::SinglePageApplication));
        assert_eq!(site.base.server.unwrap().command.unwrap(), ["node", "server.js"]);
        let lines: Vec<String> = guessed(&found, false).iter().map(line).collect();
        let expected = [
            "  www        dist/www  (it has a page)",
            "  not_found  single-page-application  (Vue in package.json, and one page)",
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
