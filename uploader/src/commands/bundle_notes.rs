//! Notes about a bundle: what was left out of it, and what was guessed.

use devanture_config::site_toml::Rules;

use crate::bundle;
use crate::bundle::scan::Scan;
use crate::context::Context;

/// Prints what was left out.
pub(super) fn left_out(context: &Context, left_out: &[String]) {
    const SHOWN_MAX: usize = 5;
    if left_out.is_empty() {
        return;
    }
    let shown: Vec<&str> = left_out.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let more = match left_out.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    context.progress.note(&format!("left out: {}{more}", shown.join(", ")));
}

/// The note about files that are pushed and never served, where there are some.
fn dotfiles(scan: &Scan) -> Option<String> {
    let mut paths = scan.files.keys().filter(|path| path.is_in_dotfile());
    let first = paths.next()?;
    Some(match paths.count() {
        0 => format!("no visitor gets {first}: names with a leading dot are never served"),
        more => format!("no visitor gets {first} and {more} more: names with a leading dot are never served"),
    })
}

/// Prints what was left out, what is never served, and what was guessed.
pub(crate) fn print(context: &Context, scan: &Scan, rules: Option<Rules>) {
    left_out(context, &scan.left_out);
    dotfiles(scan).iter().for_each(|note| context.progress.note(note));
    if let Some(rules) = rules {
        context.progress.note(&bundle::guess_note(rules));
    }
    context.project.site.procfile.iter().for_each(|from| context.progress.note(&bundle::procfile_note(from)));
}
