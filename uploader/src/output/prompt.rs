//! Questions to a person at the terminal: a confirmation, and a line without echo.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use devanture_config::problem::Code;

use super::exit::Failure;
use super::terminal::escaped;
use crate::platform::Hidden;

/// Most bytes of a line.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Asks for the name of the deleted object, on a terminal; without a terminal, a flag must have confirmed the deletion.
///
/// `what` describes the effect, also in a refusal. `flags` are the confirming flags.
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

/// Asks on stderr, and reads a line from stdin, which is a terminal, without echo.
///
/// # Errors
/// `usage` if the terminal cannot be read, or is missing.
pub(crate) async fn hidden_line(question: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(Code::Usage, format!("The terminal cannot be read: {error}."));
    // Held here and not by the reading thread: Ctrl-C drops this future, and leaves the thread waiting.
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
