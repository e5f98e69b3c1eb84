//! `init`: writes a first `devanture.toml`, from an analysis of the project or from the configuration of a different
//! provider, and prints the findings and the next step.

use std::fs::OpenOptions;
use std::io::{Error, Write};
use std::path::Path;

use devanture_config::problem::Code;
use devanture_migrate::{Migration, Note, NoteKind, Provider, migrate, proposal};

use crate::args::InitArgs;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::report::counted;

/// Requirements of a first push besides the file.
const SETTINGS_NEEDED: &str = "set DEVANTURE_URL and DEVANTURE_TOKEN, and DEVANTURE_CA for an edge with a \
    local authority (`tls/ca.pem` in its data folder)";
/// The last command to run.
const PUSH: &str = "devanture push";

/// `init`.
///
/// # Errors
/// `usage` if the file exists and `--force` is not given, or if it cannot be written.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<(), Failure> {
    let path = Path::new(&context.project.file_name);
    let app = context.settings.explicit_app()?.map(|setting| setting.value);
    let proposed = proposal::propose(&context.project, app, args.www.as_deref(), args.framework)?;
    let next: Vec<&str> = proposed.build.as_deref().into_iter().chain([PUSH]).collect();
    let value = serde_json::json!({
        "file": path,
        "app": proposed.app,
        "framework": proposed.framework.map(proposal::FrameworkName::name),
        "guessed": proposed.guessed,
        "notes": proposed.notes,
        "next": next,
        "text": args.dry_run.then_some(proposed.text.as_str()),
    });
    if args.dry_run {
        context.output.write(&value, || proposed.text.lines().map(str::to_owned).collect());
        return Ok(());
    }
    write(path, &proposed.text, args.force)?;
    context.output.report(&value, || {
        let mut lines = vec![format!("Wrote {} for the app {}.", path.display(), proposed.app)];
        lines.extend(proposed.guessed.iter().map(|guessed| format!("  {guessed}")));
        lines.extend(proposed.notes.iter().map(|note| format!("Note: {note}")));
        let build = proposed.build.as_ref().map(|line| format!("`{line}`, ")).unwrap_or_default();
        lines.push(format!("Next: {build}{SETTINGS_NEEDED}, then `{PUSH}`."));
        lines
    });
    Ok(())
}

/// `init --from`.
///
/// # Errors
/// `bad_config` with the mistakes of the provider's file; `usage` if there is no file to convert, if `devanture.toml`
/// exists and `--force` is not given, or if it cannot be written.
pub(crate) fn init_from(context: &Context, args: &InitArgs, provider: Provider) -> Result<(), Failure> {
    let chosen_app = context.settings.explicit_app()?.map(|setting| setting.value);
    let Migration { app, text, notes, redirects, rewrites, headers } =
        migrate(&context.project, provider, chosen_app, args.www.as_deref())?;
    let path = Path::new(&context.project.file_name);
    if args.dry_run {
        let value = serde_json::json!({ "written": null, "text": text, "notes": notes });
        context.output.write(&value, || {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.extend(note_lines(&notes));
            lines
        });
        return Ok(());
    }
    write(path, &text, args.force)?;
    let value = serde_json::json!({ "written": path, "app": app, "notes": notes });
    context.output.report(&value, || {
        let rules = [(redirects, "redirect"), (rewrites, "rewrite"), (headers, "rule of headers")];
        let counts: Vec<String> = rules.map(|(count, what)| count_of(count, what)).into();
        let mut lines = vec![format!("Wrote {} for the app {app}: {}.", path.display(), counts.join(", "))];
        lines.extend(note_lines(&notes));
        let needed = SETTINGS_NEEDED;
        lines.push(format!("Next: `devanture check`; {needed}; then `devanture push --no-switch` for a preview."));
        lines
    });
    Ok(())
}

fn count_of(count: usize, what: &str) -> String {
    match what {
        "rule of headers" if count != 1 => format!("{count} rules of headers"),
        _ => counted(count as u64, what),
    }
}

/// Returns the notes for a person, most important first.
fn note_lines(notes: &[Note]) -> Vec<String> {
    let groups = [
        (NoteKind::Lost, "Not carried over:"),
        (NoteKind::Differs, "Carried over, and not quite the same:"),
        (NoteKind::Stays, "Good to know:"),
    ];
    let mut lines = Vec::new();
    for (kind, title) in groups {
        let mut of_kind = notes.iter().filter(|note| note.kind == kind).peekable();
        if of_kind.peek().is_some() {
            lines.push(title.to_owned());
            lines.extend(of_kind.map(|note| format!("  {note}")));
        }
    }
    lines
}

/// Writes a new file; with `is_forced`, replaces an existing one.
///
/// # Errors
/// `usage` if the file exists, or if it cannot be written.
fn write(path: &Path, text: &str, is_forced: bool) -> Result<(), Failure> {
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
    // `create_new` neither overwrites a file nor follows a link at the path.
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Replaces a file, or a link, by a whole file.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
