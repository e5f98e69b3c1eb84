//! Input and output on a terminal: lines, questions, passwords.

use std::io::{IsTerminal as _, Read as _, Write as _};

use clap::Args;
use devanture_config::api::Secret;
use devanture_config::text::plain_text::escaped;
use rand::seq::IndexedRandom as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::Failure;

/// Where a password comes from: never from a flag, which others on the machine can see.
#[derive(Args)]
pub(crate) struct PasswordArgs {
    /// Make a password and print it, alone, on the standard output; it is never shown again
    #[arg(long)]
    generate: bool,
}

impl PasswordArgs {
    /// Returns the password, and true if generated.
    pub(crate) fn get(&self) -> Result<(Secret, bool), Failure> {
        if self.generate {
            return Ok((generated(), true));
        }
        let failed = |error: std::io::Error| Failure::refused(&format!("the password cannot be read: {error}"));
        if std::io::stdin().is_terminal() {
            let first = hidden_line("Password: ").map_err(failed)?;
            if hidden_line("Once more: ").map_err(failed)? != first {
                return Err(Failure { message: "the two are not the same".to_owned(), code: 2 });
            }
            return Ok((Secret::new(first), false));
        }
        let mut text = String::new();
        std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        Ok((Secret::new(without_line_end(&text)), false))
    }
}

/// Maximum of bytes read for a password.
const PASSWORD_BYTES_MAX: u64 = 4_096;
/// Letters of a generated password, without similar letters.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Length of a generated password: 139 bits.
const LETTERS_COUNT: usize = 24;

/// Generates an unguessable password.
fn generated() -> Secret {
    let mut random = rand::rng();
    let letters = (0..LETTERS_COUNT).filter_map(|_| LETTERS.choose(&mut random).map(|letter| char::from(*letter)));
    Secret::new(letters.collect::<String>())
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Guard that restores the terminal's echo on drop.
struct EchoGuard(Termios);

impl EchoGuard {
    fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for EchoGuard {
    fn drop(&mut self) {
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.0).ok();
    }
}

/// Asks for a line on the terminal.
pub(crate) fn line(question: &str) -> std::io::Result<String> {
    write!(std::io::stderr(), "{question}")?;
    std::io::stderr().flush()?;
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(without_line_end(&line).to_owned()),
    }
}

/// Asks for a line on the terminal without echo.
fn hidden_line(question: &str) -> std::io::Result<String> {
    let _hidden = EchoGuard::begin()?;
    line(question)
}

/// Prints a line for programs. A closed reader does not stop the edge.
pub(crate) fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).ok();
}

/// Prints an error to stderr, with control characters of the terminal removed.
pub(crate) fn say(message: &str) {
    let lines: Vec<String> = message.lines().map(escaped).collect();
    writeln!(std::io::stderr(), "{}", lines.join("\n")).ok();
}
