//! `devanture-edge init`: writes a first configuration, from a few questions or from flags.

use std::fmt::{self, Display, Formatter};
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use devanture_base::durable;
use devanture_config::Hostname;
use devanture_config::edge_toml::EdgeFile;
use devanture_config::text::toml_text;

use crate::Failure;
use crate::terminal::{line, print_line};

/// The mode of the written file. All users may read the file, which holds no secrets.
const MODE: u32 = 0o644;
const PRODUCTION_DATA: &str = "/var/lib/devanture";
const LOCAL_DATA: &str = "data";
const LOCAL_DOMAIN: &str = "localhost";

/// Values without a flag are asked for on a terminal.
#[derive(Args)]
#[command(after_help = "Examples:
  devanture-edge init                                                      ask
  devanture-edge init --domain localhost                                   for this machine alone
  devanture-edge init --domain example.app --certificates acme --agree-terms
  devanture-edge --config /etc/devanture/edge.toml init --domain example.app --certificates files \\
    --certificate tls/fullchain.pem --key tls/privkey.pem")]
pub(crate) struct Arguments {
    /// Domain of the apps: each is served at APP.DOMAIN
    #[arg(long)]
    domain: Option<Hostname>,
    /// Domain of previews; by default `preview.` and the domain
    #[arg(long, value_name = "DOMAIN")]
    preview_domain: Option<Hostname>,
    /// Source of certificates
    #[arg(long, value_enum)]
    certificates: Option<Source>,
    /// Contact address for the ACME authority
    #[arg(long, value_name = "E-MAIL")]
    contact: Option<String>,
    /// Agree to the terms of the ACME authority
    #[arg(long)]
    agree_terms: bool,
    /// Certificate for *.DOMAIN and *.PREVIEW_DOMAIN, relative to the configuration file
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<String>,
    /// Private key of the certificate
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<String>,
    /// Data folder; by default /var/lib/devanture, or `data` beside the configuration file for localhost
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Address for visitors; by default port 443 of every address, or port 8443 of this machine for localhost
    #[arg(long, value_name = "ADDRESS")]
    https: Option<SocketAddr>,
    /// Address of the API, which must not be public; by default port 8444 of this machine
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// The source of certificates.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// From Let's Encrypt; ports 80 and 443 must be reachable from outside
    Acme,
    /// From files, such as those of another ACME client
    Files,
    /// From a local authority, which browsers warn about
    SelfSigned,
}

/// The written file.
#[derive(Debug, PartialEq, Eq)]
struct Draft {
    domain: Hostname,
    preview_domain: Hostname,
    data_dir: String,
    https: SocketAddr,
    http: Option<SocketAddr>,
    admin: SocketAddr,
    certificates: Certificates,
}

#[derive(Debug, PartialEq, Eq)]
enum Certificates {
    Acme { contact: Option<String> },
    Files { certificate: String, key: String },
    SelfSigned,
}

/// Function that returns the answer to a question.
type Ask<'a> = &'a mut dyn FnMut(&str) -> std::io::Result<String>;

/// Writes a configuration to `path`, if none exists, and prints the next steps.
pub(crate) fn init(arguments: Arguments, path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Err(wrong(format!("{} exists; nothing was changed", path.display())));
    }
    let draft = match std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        true => draft(arguments, Some(&mut line))?,
        false => draft(arguments, None)?,
    };
    let text = draft.to_string();
    EdgeFile::parse(&path.display().to_string(), &text).map_err(|mistakes| wrong(mistakes.to_string()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), durable::make_folder);
    made.and_then(|()| durable::write_file(path, text.as_bytes(), MODE)).map_err(|error| Failure::refused(&error))?;
    print_line(&next_steps(&draft, path));
    Ok(())
}

fn wrong(message: String) -> Failure {
    Failure { message, code: 2 }
}

/// Builds the file from flags and, on a terminal, questions.
fn draft(arguments: Arguments, mut ask: Option<Ask<'_>>) -> Result<Draft, Failure> {
    let domain = match arguments.domain {
        Some(domain) => domain,
        None => name(&answer(&mut ask, "Domain of the apps, each at APP.DOMAIN", LOCAL_DOMAIN, "--domain")?)?,
    };
    let is_local = domain.as_str() == LOCAL_DOMAIN;
    let named = arguments.certificate.zip(arguments.key);
    let source = match arguments.certificates {
        Some(source) => source,
        None if named.is_some() => Source::Files,
        None if is_local => Source::SelfSigned,
        None => {
            let given = answer(&mut ask, "Certificates: acme, files or self-signed", "acme", "--certificates")?;
            Source::from_str(given.trim(), true).map_err(|_unknown| {
                wrong(format!("certificates cannot come from `{given}`: it is acme, files or self-signed"))
            })?
        }
    };
    let certificates = match source {
        Source::SelfSigned => Certificates::SelfSigned,
        Source::Files => files(named, &mut ask)?,
        Source::Acme => acme(arguments.contact, arguments.agree_terms, &mut ask)?,
    };
    let is_public = !is_local;
    let preview_domain = match arguments.preview_domain {
        Some(named) => named,
        None if is_public => name(&format!("preview.{domain}"))?,
        None => domain.clone(),
    };
    let public = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Draft {
        data_dir: arguments.data_dir.unwrap_or_else(|| if is_public { PRODUCTION_DATA } else { LOCAL_DATA }.to_owned()),
        // A custom visitor address is behind another server, which has port 80 as well.
        http: (is_public && arguments.https.is_none()).then(|| public(80)),
        https: arguments.https.unwrap_or_else(|| if is_public { public(443) } else { local(8443) }),
        admin: arguments.admin.unwrap_or_else(|| local(8444)),
        domain,
        preview_domain,
        certificates,
    })
}

fn name(text: &str) -> Result<Hostname, Failure> {
    text.parse().map_err(|error| wrong(format!("`{text}` is no domain: {error}")))
}

/// Returns the answer to a question, or `default` if empty; `flag` is the equivalent flag.
fn answer(ask: &mut Option<Ask<'_>>, question: &str, default: &str, flag: &str) -> Result<String, Failure> {
    let Some(ask) = ask else {
        return Err(wrong(format!("{flag} is missing, and there is no terminal to ask on; see `init --help`")));
    };
    let shown = if default.is_empty() { format!("{question}: ") } else { format!("{question} [{default}]: ") };
    let given = ask(&shown).map_err(|error| Failure::refused(&format!("the answer cannot be read: {error}")))?;
    let given = given.trim();
    Ok(if given.is_empty() { default } else { given }.to_owned())
}

fn files(named: Option<(String, String)>, ask: &mut Option<Ask<'_>>) -> Result<Certificates, Failure> {
    let (certificate, key) = match named {
        Some(named) => named,
        None => (
            answer(ask, "Certificate with both wildcard names", "tls/fullchain.pem", "--certificate")?,
            answer(ask, "Its key", "tls/privkey.pem", "--key")?,
        ),
    };
    Ok(Certificates::Files { certificate, key })
}

fn acme(contact: Option<String>, agrees: bool, ask: &mut Option<Ask<'_>>) -> Result<Certificates, Failure> {
    let agrees = agrees || {
        let terms = "Agree to the terms of Let's Encrypt (https://letsencrypt.org/repository/)? y or n";
        answer(ask, terms, "n", "--agree-terms")?.starts_with(['y', 'Y'])
    };
    if !agrees {
        return Err(wrong("it issues to nobody who has not agreed to its terms; nothing was written".to_owned()));
    }
    let contact = match (contact, ask.is_some()) {
        (Some(contact), _) => contact,
        (None, true) => answer(ask, "E-mail address that it writes to, or nothing", "", "--contact")?,
        (None, false) => String::new(),
    };
    Ok(Certificates::Acme { contact: Some(contact).filter(|contact| !contact.is_empty()) })
}

/// Returns a basic string of TOML.
fn quoted(text: impl Display) -> String {
    toml_text::quoted(&text.to_string())
}

impl Display for Draft {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { domain, preview_domain, data_dir, https, http, admin, certificates } = self;
        writeln!(f, "# An edge of Devanture. `devanture-edge check` says every mistake of this file.")?;
        writeln!(f, "data_dir = {}", quoted(data_dir))?;
        writeln!(f, "domain = {}  # each app answers at APP.{domain}", quoted(domain))?;
        writeln!(f, "preview_domain = {}  # each version at ID--APP.{preview_domain}", quoted(preview_domain))?;
        writeln!(f, "\n[listen]\nhttps = {}", quoted(https))?;
        if let Some(http) = http {
            writeln!(f, "http = {}  # redirects to HTTPS", quoted(http))?;
        }
        writeln!(f, "admin = {}  # the API; never public", quoted(admin))?;
        match certificates {
            Certificates::SelfSigned => writeln!(f, "\n[tls]\nmode = \"self-signed\""),
            Certificates::Files { certificate, key } => {
                writeln!(f, "\n[tls]  # with the names *.{domain} and *.{preview_domain}\nmode = \"files\"")?;
                writeln!(f, "certificate = {}\nkey = {}", quoted(certificate), quoted(key))
            }
            Certificates::Acme { contact } => {
                writeln!(
                    f,
                    "\n# Each hostname of an environment and each alias gets a certificate. A version's own gets none:"
                )?;
                writeln!(f, "# name a file with *.{preview_domain} here for those.\n[tls]\nmode = \"acme\"")?;
                writeln!(f, "# certificate = \"tls/fullchain.pem\"\n# key = \"tls/privkey.pem\"")?;
                writeln!(f, "\n[acme]\nterms_agreed = true")?;
                contact
                    .iter()
                    .try_for_each(|contact| writeln!(f, "contact = [{}]", quoted(format!("mailto:{contact}"))))
            }
        }
    }
}

fn next_steps(draft: &Draft, path: &Path) -> String {
    let Draft { domain, preview_domain, .. } = draft;
    let config = match path == Path::new("edge.toml") {
        true => String::new(),
        false => format!(" --config {}", path.display()),
    };
    let mut lines = vec![format!("Wrote {}. Next:", path.display())];
    if domain.as_str() != LOCAL_DOMAIN {
        lines.push(format!("  DNS records for *.{domain} and *.{preview_domain} that lead to this machine"));
    }
    lines.push(format!("  devanture-edge check{config}"));
    lines.push(format!("  devanture-edge{config}"));
    lines.push(format!("  devanture-edge token create{config} --name me --scope admin"));
    if !matches!(draft.certificates, Certificates::Files { .. }) {
        let folder = path.parent().unwrap_or_else(|| Path::new("")).join(&draft.data_dir);
        let ca: PathBuf = folder.join("tls/ca.pem");
        lines.push(format!("  DEVANTURE_CA={} for `devanture`, once the edge has made it", ca.display()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use clap::Parser;
    use devanture_config::edge_toml::Tls;
    use proptest::prelude::*;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn by_flags(flags: &[&str]) -> Result<Draft, Failure> {
        let line = Line::try_parse_from([&["init"], flags].concat()).unwrap_or_else(|error| panic!("{error}"));
        draft(line.arguments, None)
    }

    /// Builds a draft from answers; returns the draft and the questions.
    fn by_answers(answers: &[&str]) -> (Result<Draft, Failure>, Vec<String>) {
        let mut answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let mut questions = Vec::new();
        let mut ask = |question: &str| {
            questions.push(question.to_owned());
            Ok(answers.pop_front().expect("no more questions"))
        };
        let line = Line::parse_from(["init"]);
        let made = draft(line.arguments, Some(&mut ask));
        assert!(answers.is_empty(), "{answers:?}");
        (made, questions)
    }

    fn fine<T>(result: Result<T, Failure>) -> T {
        result.unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    fn parsed(draft: &Draft) -> EdgeFile {
        EdgeFile::parse("edge.toml", &draft.to_string()).unwrap_or_else(|mistakes| panic!("{mistakes}\n{draft}"))
    }

    #[test]
    fn localhost_needs_nothing_else() {
        let file = parsed(&fine(by_flags(&["--domain", "localhost"])));
        assert_eq!((file.domain.as_str(), file.preview_domain.as_str()), ("localhost", "localhost"));
        assert_eq!(file.tls, Tls::SelfSigned);
        assert!(file.listen.https.ip().is_loopback() && file.listen.http.is_none());
    }

    #[test]
    fn answers_and_flags_say_the_same() {
        let (by_answers, questions) = by_answers(&["example.app", "", "y", "ops@example.app"]);
        assert_eq!(questions.len(), 4);
        let flags =
            ["--domain", "example.app", "--certificates", "acme", "--agree-terms", "--contact", "ops@example.app"];
        let draft = fine(by_answers);
        assert_eq!(draft, fine(by_flags(&flags)));
        assert_eq!(
            draft.to_string(),
            include_str!("../../../../config/samples/valid/edge-init.toml"),
            "the documents' sample"
        );
        let file = parsed(&draft);
        assert_eq!(file.preview_domain.as_str(), "preview.example.app");
        assert_eq!((file.listen.https.port(), file.listen.http.map(|http| http.port())), (443, Some(80)));
        let Tls::Acme { authority, files } = file.tls else { panic!("{:?}", file.tls) };
        assert_eq!((authority.contact, files.len()), (vec!["mailto:ops@example.app".to_owned()], 0));
    }

    #[test]
    fn files_are_requested_by_name() {
        let (made, questions) = by_answers(&["example.app", "files", "", "/etc/key.pem"]);
        assert_eq!(questions.len(), 4);
        let Certificates::Files { certificate, key } = fine(made).certificates else { panic!("other certificates") };
        assert_eq!((certificate.as_str(), key.as_str()), ("tls/fullchain.pem", "/etc/key.pem"));
    }

    #[test]
    fn what_is_missing_without_a_terminal_names_its_flag() {
        for (flags, missing) in [
            (&[][..], "--domain"),
            (&["--domain", "example.app"], "--certificates"),
            (&["--domain", "example.app", "--certificates", "acme"], "--agree-terms"),
            (&["--domain", "example.app", "--certificates", "files"], "--certificate"),
        ] {
            let failure = by_flags(flags).expect_err("something is missing");
            assert!(failure.code == 2 && failure.message.starts_with(missing), "{}", failure.message);
        }
    }

    #[test]
    fn nobody_agrees_by_accident() {
        let (made, _) = by_answers(&["example.app", "acme", ""]);
        assert_eq!(made.expect_err("nobody agreed").code, 2);
    }

    proptest! {
        #[test]
        fn whatever_the_folder_is_called_it_is_read_back_or_refused(data_dir in ".{1,20}") {
            let mut draft = fine(by_flags(&["--domain", "localhost"]));
            draft.data_dir = data_dir;
            if let Ok(file) = EdgeFile::parse("edge.toml", &draft.to_string()) {
                prop_assert_eq!(file.data_dir.to_str(), Some(draft.data_dir.as_str()));
            }
        }
    }
}
