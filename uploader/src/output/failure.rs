//! Prints a failure at the end of a command.

use super::exit::Failure;
use super::progress::Progress;
use super::report::Output;

/// Prints a failure: to a person on stderr, and with `--json` as a line on stdout.
pub(crate) fn print(output: &Output, progress: &Progress, failure: &Failure, last: Option<&str>) {
    if failure.is_silent {
        return;
    }
    if output.is_json && !failure.is_printed {
        output.json(&failure.json());
    }
    let style = progress.style;
    let mut lines = failure.lines();
    if let Some(last) = lines.last_mut() {
        *last = format!("{last}  {}", style.dim(&format!("[{}]", failure.code)));
    }
    if let Some(first) = lines.first_mut() {
        *first = format!("{} {first}", style.bad("error:"));
    }
    lines.iter().for_each(|line| progress.line(line));
    if let Some(hint) = &failure.hint {
        progress.line(&format!("{} {hint}", style.good("hint:")));
    }
    if let Some(last) = last {
        progress.line(last);
    }
}
