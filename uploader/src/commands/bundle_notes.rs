//! Notes about a bundle: left-out files and the reasons, and guesses.

use devanture_config::manifest::leave_out::provider_of;
use devanture_config::site_toml::Rules;
use devanture_project::bundle;
use devanture_project::bundle::scan::Scan;

use crate::context::Context;

/// Prints the left-out files; files for other providers have a separate line.
pub(super) fn left_out(context: &Context, left_out: &[String]) {
    let is_of_provider = |path: &&String| provider_of(path).is_some();
    let (of_providers, others): (Vec<&String>, Vec<&String>) = left_out.iter().partition(is_of_provider);
    if !others.is_empty() {
        context.progress.note(&format!("left out: {}", list(&others)));
    }
    for path in of_providers {
        let provider = provider_of(path).unwrap_or_default();
        context.progress.note(&format!("left out: {path}, which is for {provider} and for no visitor"));
    }
}

/// The first of `paths`, and how many more there are.
fn list(paths: &[&String]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<&str> = paths.iter().take(SHOWN_MAX).map(|path| path.as_str()).collect();
    let more = match paths.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

/// Prints the files left out by `exclude`, so that an overly wide glob is noticed.
fn excluded(context: &Context, scan: &Scan) {
    let of_server = scan.server.as_ref().map(|server| &server.excluded);
    for (key, paths) in [("exclude", Some(&scan.excluded)), ("server.exclude", of_server)] {
        let paths: Vec<&String> = paths.into_iter().flatten().collect();
        if !paths.is_empty() {
            context.progress.note(&format!("`{key}` leaves out: {}", list(&paths)));
        }
    }
}

/// Returns the note about files that are pushed and never served, if any.
fn dotfiles(scan: &Scan) -> Option<String> {
    let mut paths = scan.files.keys().filter(|path| path.is_in_dotfile());
    let first = paths.next()?;
    Some(match paths.count() {
        0 => format!("no visitor gets {first}: names with a leading dot are never served"),
        more => format!("no visitor gets {first} and {more} more: names with a leading dot are never served"),
    })
}

/// Prints left-out files, files that are never served, and guesses.
pub(crate) fn print(context: &Context, scan: &Scan, rules: Option<Rules>) {
    left_out(context, &scan.left_out);
    excluded(context, scan);
    dotfiles(scan).iter().for_each(|note| context.progress.note(note));
    if let Some(rules) = rules {
        context.progress.note(&bundle::guess_note(rules));
    }
    context.project.site.procfile.iter().for_each(|from| context.progress.note(&bundle::procfile_note(from)));
}
