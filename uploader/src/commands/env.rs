//! `env list`, `env set`, `env unset`: settings and secrets of an environment.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use devanture_config::api::{SettingName, SettingStatus, SettingWanted, SettingsList, SettingsPatch, SettingsReport};
use devanture_config::problem::Code;
use devanture_project::dotenv;

use super::{dry_run, suggest};
use crate::args::{EnvCommand, EnvSetArgs};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::prompt;
use crate::settings::PREVIEW;
use crate::signals::blocking;

/// Requests for a `--dry-run`.
const DRY_RUN: &[(&str, &str)] = &[("dry_run", "true")];
/// Stands for stdin.
const STDIN: &str = "-";
/// Upper bound of bytes read from a file or stdin; the edge's own limit is lower.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most characters of a value in a list.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// `env`.
///
/// # Errors
/// The error of the edge, `usage` for an unreadable value, or `bad_config` for invalid lines of a file.
pub(crate) async fn env(context: &Context, command: &EnvCommand) -> Result<(), Failure> {
    let style = context.output.style;
    let (patch, dry_run) = match command {
        EnvCommand::List => {
            let edge = context.edge()?;
            let list = edge.settings(&context.place()?).await?;
            suggest::note_new_place(context, &edge).await;
            context.output.write(&list, || list_lines(style, &list));
            return Ok(());
        }
        EnvCommand::Set(args) => {
            let mut stdin = Stdin::default();
            stdin.ask(args).await?;
            let patch = {
                let args = args.clone();
                blocking(move || set(&args, &mut stdin)).await?
            };
            if args.secret == Some(true) && args.settings.iter().any(|word| is_on_the_command_line(word)) {
                context.progress.note(
                    "a value on the command line can be seen by other users, and stays in the shell's history; \
                     `env set NAME --secret` asks for it, and `env set NAME --secret < FILE` reads it",
                );
            }
            (patch, args.dry_run)
        }
        EnvCommand::Unset { names, dry_run } => {
            (SettingsPatch { set: BTreeMap::new(), unset: names.clone() }, *dry_run)
        }
    };
    let query = if dry_run { DRY_RUN } else { &[] };
    let edge = context.edge()?;
    let report = edge.change_settings(&context.place()?, &patch, query).await?;
    suggest::note_new_place(context, &edge).await;
    context.output.of_change(dry_run).report(&report, || report_lines(style, &report, &patch.unset));
    Ok(())
}

/// The source of values beyond the command line; stdin is read once.
#[derive(Default)]
struct Stdin {
    is_read: bool,
    /// Values typed on request, by name.
    typed: BTreeMap<String, String>,
    #[cfg(test)]
    text: Option<&'static str>,
}

impl Stdin {
    /// Reads all of stdin; `what` is the purpose, for messages.
    fn read(&mut self, what: &str) -> Result<String, Failure> {
        if std::mem::replace(&mut self.is_read, true) {
            let message = format!("Stdin holds one thing, and {what} is the second that would be read from it.");
            return Err(
                Failure::new(Code::Usage, message).hint("set the others by a command of their own, or by --from")
            );
        }
        #[cfg(test)]
        if let Some(text) = self.text {
            return Ok(text.to_owned());
        }
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::new(Code::Usage, format!("There is no value for {what}."))
                .hint("write NAME=VALUE, or let the value come by stdin: `devanture env set NAME < FILE`"));
        }
        text_of(stdin.lock(), "stdin")
    }

    /// Returns the value of `name`, typed by a person, or all of stdin.
    fn value(&mut self, name: &str) -> Result<String, Failure> {
        match self.typed.remove(name) {
            Some(typed) => Ok(typed),
            None => self.read(name),
        }
    }

    /// Asks a person at the terminal for the values missing in `args`.
    async fn ask(&mut self, args: &EnvSetArgs) -> Result<(), Failure> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Ok(());
        }
        for word in args.settings.iter().filter(|word| !is_on_the_command_line(word)) {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            check_name(name)?;
            let typed = prompt::hidden_line(&format!("Value of {name} (not shown): ")).await?;
            self.typed.insert(name.to_owned(), typed);
        }
        Ok(())
    }
}

fn text_of(from: impl Read, name: &str) -> Result<String, Failure> {
    let cannot = |why: String| Failure::new(Code::Usage, format!("{name} cannot be read: {why}."));
    let mut bytes = Vec::new();
    from.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(cannot(format!("it has more than {BYTES_MAX} bytes")));
    }
    // The bytes themselves are never printed.
    String::from_utf8(bytes).map_err(|_error| cannot("it is not UTF-8".to_owned()))
}

/// Returns true if an argument of `env set` contains the value itself.
fn is_on_the_command_line(word: &str) -> bool {
    word.split_once('=').is_some_and(|(_, value)| value != STDIN)
}

/// The changes of `env set`.
fn set(args: &EnvSetArgs, stdin: &mut Stdin) -> Result<SettingsPatch, Failure> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    if let Some(path) = &args.from {
        values = from_file(path, stdin)?;
    }
    for word in &args.settings {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if value != STDIN => (name, value.to_owned()),
            Some((name, _)) => (name, piped(name, stdin)?),
            None => (word.as_str(), piped(word, stdin)?),
        };
        check_name(name)?;
        values.insert(name.to_owned(), value);
    }
    let wanted =
        |value| SettingWanted { value, public: args.public, secret: args.secret, development: args.development };
    let set = values.into_iter().map(|(name, value)| (name, wanted(value))).collect();
    Ok(SettingsPatch { set, unset: Vec::new() })
}

fn from_file(path: &Path, stdin: &mut Stdin) -> Result<BTreeMap<String, String>, Failure> {
    let shown = path.display().to_string();
    let text = if shown == STDIN {
        stdin.read("--from")?
    } else {
        let file = std::fs::File::open(path)
            .map_err(|error| Failure::new(Code::Usage, format!("{shown} cannot be read: {error}.")))?;
        text_of(file, &shown)?
    };
    let parsed = dotenv::parse(&text);
    parsed.check(if shown == STDIN { "stdin" } else { &shown })?;
    if parsed.values.is_empty() {
        return Err(Failure::new(Code::Usage, format!("{shown} sets nothing.")).hint("a line is NAME=value"));
    }
    Ok(parsed.values)
}

/// Checks a name. An invalid name may be a value typed in its place, and is not repeated.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.parse::<SettingName>().is_ok() {
        return Ok(());
    }
    let message = "A setting is named by A-Z, a-z, 0-9 and _, and begins with a letter.";
    Err(Failure::new(Code::Usage, message).hint("such as API_URL=https://api.example.org"))
}

/// Returns the value of `name` from stdin. An empty stdin is refused: in CI, stdin is empty without a pipe.
fn piped(name: &str, stdin: &mut Stdin) -> Result<String, Failure> {
    check_name(name)?;
    let value = without_line_break(stdin.value(name)?);
    if value.is_empty() {
        let message = format!("There is no value for {name}: stdin is empty.");
        return Err(Failure::new(Code::Usage, message).hint(format!("write {name}=VALUE; {name}= sets it to nothing")));
    }
    Ok(value)
}

/// Strips the line end of an editor or of `echo`, which is not part of a value.
fn without_line_break(mut value: String) -> String {
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    value
}

fn line(style: Style, name: &str, text: &str) -> String {
    format!("  {}  {text}", style.dim(&format!("{name:<8}")))
}

fn list_lines(style: Style, list: &SettingsList) -> Vec<String> {
    if list.settings.is_empty() {
        return vec![format!("{} has no setting in {}.", list.app, list.environment)];
    }
    let width = list.settings.iter().map(|one| one.name.as_str().len()).max().unwrap_or(0);
    let row = |one: &SettingStatus| {
        let kind = match (one.secret, one.public) {
            (true, _) => "secret",
            (_, true) => "public",
            _ => "",
        };
        let mark = if one.development { "  for development" } else { "" };
        let value = match &one.value {
            Some(value) => shortened(value),
            None if one.lost => style.bad("(its key is not at hand: set it again)"),
            None => style.dim("(not shown)"),
        };
        format!("  {:<width$}  {kind:<6}  {value}{mark}", one.name.as_str()).trim_end().to_owned()
    };
    let mut lines: Vec<String> = list.settings.iter().map(row).collect();
    let who = list.who.as_deref().map_or_else(String::new, |who| format!(" by {who}"));
    lines.push(style.dim(&format!("  revision {}{who}", list.revision)));
    lines
}

/// Formats a value in one line.
fn shortened(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns the result of a change that was to unset the settings `unset`.
fn report_lines(style: Style, report: &SettingsReport, unset: &[String]) -> Vec<String> {
    let place = &report.environment;
    let names = |names: &[SettingName]| names.iter().map(SettingName::as_str).collect::<Vec<_>>().join(", ");
    let is_gone = |name: &&String| report.unset.iter().any(|gone| gone.as_str() == name.as_str());
    let unknown = unset.iter().filter(|name| !is_gone(name)).map(String::as_str).collect::<Vec<_>>().join(", ");
    let unknown = (!unknown.is_empty()).then(|| line(style, "unknown", &format!("{place} has no {unknown}")));
    if !report.changed {
        let same = line(style, "same", &format!("{place} is as wanted already; nothing has changed"));
        return unknown.into_iter().chain([same]).collect();
    }
    let parts = [("set", &report.set), ("unset", &report.unset)];
    let parts = parts.into_iter().filter(|(_, list)| !list.is_empty());
    let mut lines: Vec<String> = parts.map(|(what, list)| line(style, what, &names(list))).chain(unknown).collect();
    if report.dry_run {
        lines.push(line(style, "would", &format!("make revision {} of {place}", report.revision)));
        lines.push(dry_run::nothing_changed(style));
        return lines;
    }
    let holds = match report.live {
        true => "holds now",
        // No version is live there: the settings apply to every preview.
        false if place.as_str() == PREVIEW => "holds now, in previews",
        false => "will hold once something is live there",
    };
    lines.push(line(style, "revision", &format!("{} of {place} {holds}", report.revision)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn args(settings: &[&str], from: Option<&Path>) -> EnvSetArgs {
        let settings = settings.iter().map(|word| (*word).to_owned()).collect();
        EnvSetArgs {
            settings,
            from: from.map(Path::to_owned),
            public: None,
            secret: Some(true),
            development: None,
            dry_run: false,
        }
    }

    fn values(args: &EnvSetArgs, stdin: &'static str) -> Result<Vec<(String, String)>, String> {
        let patch = set(args, &mut Stdin { text: Some(stdin), ..Stdin::default() });
        let patch = patch.map_err(|failure| format!("{}: {failure}", failure.code))?;
        Ok(patch.set.into_iter().map(|(name, wanted)| (name, wanted.value)).collect())
    }

    #[test]
    fn a_value_is_on_the_command_line_or_comes_by_stdin() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (words, stdin, expected) in [
            (&["A=1", "B=x=y"][..], "", vec![pair("A", "1"), pair("B", "x=y")]),
            (&["A="], "", vec![pair("A", "")]),
            (&["A"], "hush\n", vec![pair("A", "hush")]),
            (&["A=-"], "hush\r\n", vec![pair("A", "hush")]),
            (&["A=-", "B=2"], "two\nlines\n\n", vec![pair("A", "two\nlines\n"), pair("B", "2")]),
        ] {
            assert_eq!(values(&args(words, None), stdin).unwrap(), expected, "{words:?}");
        }
        assert!(values(&args(&["A", "B"], None), "x").unwrap_err().starts_with("usage: Stdin holds one thing"));
        // A text in the place of a name is not repeated.
        for word in ["hush-hush", "api-key=hush", "=hush"] {
            let error = values(&args(&[word], None), "x").unwrap_err();
            assert!(error.starts_with("usage") && !error.contains("hush"), "{error}");
        }
        assert!(values(&args(&["A"], None), "\n").unwrap_err().contains("stdin is empty"));
        assert!(!format!("{:?}", args(&["A=hush"], None)).contains("hush"));
    }

    #[test]
    fn a_file_sets_all_that_it_holds_and_the_command_line_counts_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("production.env");
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"# said\nA=1\nexport B=\"two\\nlines\"\n").unwrap();
        let found = values(&args(&["A=3"], Some(&path)), "").unwrap();
        assert_eq!(found, [("A".to_owned(), "3".to_owned()), ("B".to_owned(), "two\nlines".to_owned())]);
        assert_eq!(values(&args(&[], Some(Path::new("-"))), "A=1").unwrap().len(), 1);
        assert!(values(&args(&[], Some(Path::new("-"))), "nothing").is_err());
        assert!(values(&args(&[], Some(&folder.path().join("none"))), "").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_list_shows_values_but_no_secret() {
        let one = |name: &str, value: Option<&str>, public, lost| SettingStatus {
            name: name.parse().unwrap(),
            public,
            secret: value.is_none(),
            lost,
            development: false,
            value: value.map(str::to_owned),
            revision: 1,
            who: "me".to_owned(),
            at_ms: 0,
        };
        let list = SettingsList {
            app: "shop".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            revision: 3,
            who: Some("me".to_owned()),
            at_ms: Some(0),
            settings: vec![
                one("API_URL", Some("https://a"), true, false),
                one("KEY", None, false, false),
                one("LOST", None, false, true),
                one("TEXT", Some("a\nb"), false, false),
            ],
        };
        let expected = [
            "  API_URL  public  https://a",
            "  KEY      secret  (not shown)",
            "  LOST     secret  (its key is not at hand: set it again)",
            "  TEXT             a\\nb",
            "  revision 3 by me",
        ];
        assert_eq!(list_lines(plain(), &list), expected);
        let none = SettingsList { settings: Vec::new(), ..list };
        assert_eq!(list_lines(plain(), &none), ["shop has no setting in prod."]);
    }

    #[test]
    fn a_change_says_what_it_changed_and_when_it_holds() {
        let report = SettingsReport {
            dry_run: false,
            app: "shop".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            changed: true,
            revision: 2,
            previous: 1,
            set: vec!["A".parse().unwrap(), "B".parse().unwrap()],
            unset: vec!["C".parse().unwrap()],
            live: true,
        };
        let expected = ["  set       A, B", "  unset     C", "  revision  2 of prod holds now"];
        assert_eq!(report_lines(plain(), &report, &["C".to_owned()]), expected);
        let idle = SettingsReport { live: false, unset: Vec::new(), ..report.clone() };
        assert!(report_lines(plain(), &idle, &[])[1].ends_with("will hold once something is live there"));
        let previews = SettingsReport { environment: PREVIEW.parse().unwrap(), ..idle.clone() };
        assert!(report_lines(plain(), &previews, &[])[1].ends_with("of preview holds now, in previews"));
        let predicted = SettingsReport { dry_run: true, ..report.clone() };
        assert_eq!(report_lines(plain(), &predicted, &[])[2], "  would     make revision 2 of prod");
        let same = SettingsReport { changed: false, unset: Vec::new(), ..report };
        assert!(report_lines(plain(), &same, &[])[0].ends_with("nothing has changed"));
        let mistyped = report_lines(plain(), &same, &["NOPE".to_owned()]);
        assert_eq!(mistyped.len(), 2);
        assert!(mistyped[0].ends_with("prod has no NOPE"), "{mistyped:?}");
    }
}
