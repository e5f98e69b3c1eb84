//! Notes about a bundle: what was left out of it, and what was guessed.

use devanture_config::site_toml::Rules;

use crate::bundle;
use crate::bundle::scan::Scan;
use crate::context::Context;

/// Prints what was left out and what was guessed.
pub(crate) fn print(context: &Context, scan: &Scan, rules: Option<Rules>) {
    const SHOWN_MAX: usize = 5;
    if !scan.left_out.is_empty() {
        let shown: Vec<&str> = scan.left_out.iter().take(SHOWN_MAX).map(String::as_str).collect();
        let more = match scan.left_out.len().saturating_sub(SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        context.progress.note(&format!("left out: {}{more}", shown.join(", ")));
    }
    if let Some(rules) = rules {
        context.progress.note(&bundle::guess_note(rules));
    }
    context.project.site.procfile.iter().for_each(|from| context.progress.note(&bundle::procfile_note(from)));
}
