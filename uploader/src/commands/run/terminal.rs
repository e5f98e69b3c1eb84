//! The terminal of this program while a command uses it: raw, so that each key is the command's, and restored at the end.

use devanture_config::api::TerminalSize;

/// A size where the terminal has none.
const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

#[cfg(unix)]
pub(super) use unix::{Raw, Sizes, is_there, size};

#[cfg(unix)]
mod unix {
    use std::io::{self, IsTerminal as _};

    use devanture_config::api::TerminalSize;
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::SIZE;

    /// Whether this program reads from a terminal and writes to one.
    pub(in crate::commands::run) fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// The size of the terminal.
    pub(in crate::commands::run) fn size() -> TerminalSize {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => TerminalSize { rows: size.ws_row, columns: size.ws_col },
            _ => SIZE,
        }
    }

    /// The terminal is raw for as long as this lives.
    pub(in crate::commands::run) struct Raw {
        before: Termios,
    }

    impl Raw {
        /// Makes the terminal raw.
        pub(in crate::commands::run) fn enter() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
            Ok(Self { before })
        }
    }

    impl Drop for Raw {
        fn drop(&mut self) {
            tcsetattr(io::stdin(), OptionalActions::Drain, &self.before).ok();
        }
    }

    /// Changes of the size.
    pub(in crate::commands::run) struct Sizes(Option<Signal>);

    impl Sizes {
        pub(in crate::commands::run) fn new(has_terminal: bool) -> Self {
            Self(has_terminal.then(|| signal(SignalKind::window_change()).ok()).flatten())
        }

        /// The next size. May be dropped before it is ready.
        pub(in crate::commands::run) async fn next(&mut self) -> TerminalSize {
            match &mut self.0 {
                Some(changed) => match changed.recv().await {
                    Some(()) => size(),
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(not(unix))]
pub(super) use elsewhere::{Raw, Sizes, is_there, size};

/// No terminals: a command gets pipes.
#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use devanture_config::api::TerminalSize;

    pub(in crate::commands::run) fn is_there() -> bool {
        false
    }

    pub(in crate::commands::run) fn size() -> TerminalSize {
        super::SIZE
    }

    pub(in crate::commands::run) struct Raw;

    impl Raw {
        pub(in crate::commands::run) fn enter() -> io::Result<Self> {
            Ok(Self)
        }
    }

    pub(in crate::commands::run) struct Sizes;

    impl Sizes {
        pub(in crate::commands::run) fn new(_has_terminal: bool) -> Self {
            Self
        }

        pub(in crate::commands::run) async fn next(&mut self) -> TerminalSize {
            std::future::pending().await
        }
    }
}
