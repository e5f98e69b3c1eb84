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

/// Prints what was left out and what was guessed.
pub(crate) fn print(context: &Context, scan: &Scan, rules: Option<Rules>) {
    left_out(context, &scan.left_out);
    if let Some(rules) = rules {
        context.progress.note(&bundle::guess_note(rules));
    }
    context.project.site.procfile.iter().for_each(|from| context.progress.note(&bundle::procfile_note(from)));
}
