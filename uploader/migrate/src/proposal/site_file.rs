//! The text of a first `devanture.toml`: the found values, and further settings as comments.

use devanture_config::site_toml::{self, SERVER_DIR, SiteFile};
use devanture_config::text::toml_text::quoted;

use super::backend::Backend;
use super::guess::Guess;
use super::missing::Missing;

/// Returns the output of `init`. `chosen` is the folder of the pages, if the user names it.
pub(super) fn site_file_text(app: &str, chosen: Option<&str>, guess: &Guess) -> String {
    let www = match chosen.or_else(|| guess.pages.as_ref().map(|pages| pages.folder.as_str())) {
        Some(www) => format!("www = {:<33} # what your build writes, relative to this file", quoted(www)),
        None => format!("# {:<37} # the folder that your build writes, relative to this file", "www = \"dist\""),
    };
    let name = guess.framework.map_or("", |framework| framework.name);
    let not_found = match guess.missing {
        Missing::Application => {
            format!("{:<39} # {name}: deep links get index.html\n", "not_found = \"single-page-application\"")
        }
        Missing::ApplicationPage(_) | Missing::NotFound => {
            format!("# {:<37} # or \"single-page-application\", \"none\"\n", "not_found = \"404-page\"")
        }
    };
    let rewrites = match &guess.missing {
        Missing::ApplicationPage(page) => format!(
            "\n{:<39} # {name}: deep links get {page}\nfrom = \"/*\"\nto = {}\n",
            "[[rewrites]]",
            quoted(&format!("/{page}"))
        ),
        Missing::Application | Missing::NotFound => String::new(),
    };
    let (routes, server) = (routes(guess), server(guess));
    let text = format!(
        r#"app = {}
{www}

# html_handling = "auto-trailing-slash"   # or "force-trailing-slash", "drop-trailing-slash", "none", "as-is"
{not_found}# rules = "netlify"                       # whose meaning _redirects and _headers have; or "cloudflare"
{rewrites}{routes}{server}
# [env.staging]                           # any of the above again, for one environment
# not_found = "none"
"#,
        quoted(app)
    );
    debug_assert!(SiteFile::parse(site_toml::FILE_NAME, &text).is_ok(), "{text}");
    text
}

/// Returns an example of a route, for a project without its own backend.
fn routes(guess: &Guess) -> String {
    let routes = r#"
[[routes]]                              # a path that goes to a backend of yours, on the same origin
path = "/api/*"
to = "http://127.0.0.1:3000"
"#;
    match &guess.backend {
        Some(_) => String::new(),
        None => commented(routes),
    }
}

/// Returns the text about the backend of the project.
fn server(guess: &Guess) -> String {
    match &guess.backend {
        Some(Backend::Command(words)) => command(words, "# $PORT names the port to listen on\n"),
        Some(Backend::OnSocket(words)) => command(
            words,
            "# what starts it there\n\
             listen = \"socket\"                       # $SOCKET names the socket, which no other app reaches\n",
        ),
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
    }
}

/// Returns the text about the backend started by `words`, with a remark.
fn command(words: &[String], said: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let command = format!("command = [{}]", words.join(", "));
    format!(
        "\n[server]                                # the backend in {SERVER_DIR}, which the edge runs\n\
         {command:<39} {said}\
         routes = [\"/api/*\"]                     # the paths that it answers\n"
    )
}

/// Lines as comments.
fn commented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("# {line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::guess::guess;
    use super::super::tree::tests::Files;
    use super::*;

    #[test]
    fn what_init_writes_is_read_back() {
        let www = "a \"b\" \\ c\n\u{1}\u{7f}";
        let nothing = || guess(&Files::default(), Some(www), None);
        let text = site_file_text("shop", Some(www), &nothing());
        let site = SiteFile::parse("devanture.toml", &text).unwrap();
        assert_eq!(site.app.unwrap().as_str(), "shop");
        assert_eq!(site.www.as_deref(), Some(www));
        assert!(site.base.is_empty() && site.env.is_empty());
        let words = || vec!["node".to_owned(), "a \"b\".js".to_owned()];
        let (port, socket) = (Backend::Command(words()), Backend::OnSocket(words()));
        let text = site_file_text("shop", None, &Guess { backend: Some(socket.clone()), ..nothing() });
        assert!(text.contains("\nlisten = \"socket\""), "{text}");
        for backend in [None, Some(Backend::Procfile), Some(Backend::Unknown), Some(port), Some(socket)] {
            for missing in [Missing::NotFound, Missing::Application, Missing::ApplicationPage("200.html".to_owned())] {
                let guess = Guess { backend: backend.clone(), missing, ..nothing() };
                let text = site_file_text("shop", Some("dist"), &guess);
                SiteFile::parse("devanture.toml", &text).unwrap();
                let lines = text.lines().filter(|line| !line.starts_with("# The "));
                let uncommented: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
                SiteFile::parse("devanture.toml", &uncommented.join("\n")).unwrap();
            }
        }
    }

    #[test]
    fn what_was_not_found_is_not_written() {
        let text = site_file_text("shop", None, &guess(&Files::default(), None, None));
        assert_eq!(SiteFile::parse("devanture.toml", &text).unwrap().www, None, "{text}");
    }
}
