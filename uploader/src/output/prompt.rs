//! Questions to a person at the terminal: whether something is meant, and for a line that is not shown.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use devanture_config::problem::Code;

use super::exit::Failure;
use super::terminal::escaped;
use crate::platform::Hidden;

/// Most bytes of a line.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Asks for the name of what is deleted, on a terminal; elsewhere nobody is asked, and somebody must have said that it
/// is meant.
///
/// `what` says what would happen: a refusal prints it, too. `flags` are those by which it can be meant.
pub(crate) async fn confirm(
    name: &str,
    what: &str,
    way_back: &str,
    flags: &str,
    is_meant: bool,
    is_json: bool,
) -> Result<(), Failure> {
    if is_meant {
        return Ok(());
    }
    if is_json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let hint = format!("{way_back}: pass {flags} to mean it, or --dry-run to see what it would do");
        return Err(Failure::new(Code::Usage, what).hint(hint));
    }
    let question = format!("{}\n({way_back}.)\nType {} to go on: ", escaped(what), escaped(name));
    let typed = tokio::task::spawn_blocking(move || {
        let mut typed = String::new();
        // Released before a person types: an interruption is printed there.
        io::stderr().write_all(question.as_bytes())?;
        io::stdin().read_line(&mut typed).map(|_| typed)
    });
    let typed = typed.await.ok().and_then(Result::ok).unwrap_or_default();
    if typed.trim() == name {
        return Ok(());
    }
    Err(Failure::new(Code::Usage, format!("That is not {name}; nothing has changed.")))
}

/// Asks on stderr, and reads a line of stdin, which is a terminal, without showing it.
///
/// # Errors
/// `usage` where it cannot be read, or there is none.
pub(crate) async fn hidden_line(question: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(Code::Usage, format!("The terminal cannot be read: {error}."));
    // Held here and not by the thread that reads: Ctrl-C drops this future, and leaves the thread waiting.
    let hidden = Hidden::new().map_err(failed)?;
    let written = io::stderr().write_all(question.as_bytes()).and_then(|()| io::stderr().flush());
    written.map_err(failed)?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line).map(|_bytes| line)
    });
    let read = read.await;
    drop(hidden);
    let line = read.map_err(io::Error::other).and_then(|read| read).map_err(failed)?;
    match line.is_empty() {
        true => Err(Failure::new(Code::Usage, "Nothing was typed.")),
        false => Ok(line),
    }
}
