//! The edge's log: one JSON line per event, with untrusted text escaped for terminals.

use std::io::{self, Write};

use devanture_config::text::plain_text;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;

/// Returns a log of events to the writer from `open`.
pub(super) fn subscriber<W: Write + 'static>(
    filter: EnvFilter,
    open: impl Fn() -> W + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let lines = move || PlainLines(open());
    let format = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(lines);
    // An unwritable line is lost, for example with stderr in a file on a full or failed disk. Reporting the loss on
    // stderr would panic in the code that logs.
    format.log_internal_errors(false).finish()
}

/// Writes JSON lines, each in one piece. JSON itself escapes only the first 32 control characters (RFC 8259 §7).
struct PlainLines<W>(W);

impl<W: Write> Write for PlainLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut plain = plain_text::json(text.strip_suffix('\n').unwrap_or(&text));
        if text.ends_with('\n') {
            plain.push('\n');
        }
        self.0.write_all(plain.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Log for tests.
#[cfg(any(test, feature = "testing"))]
pub(super) mod testing {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `work` logs on this thread at the level of the edge's log.
    pub fn logged(work: impl FnOnce()) -> String {
        let paper = Paper::default();
        let open = paper.clone();
        let log = subscriber(EnvFilter::new("info"), move || open.clone());
        tracing::subscriber::with_default(log, work);
        String::from_utf8_lossy(&paper.0.lock()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::logged;
    use super::*;

    #[test]
    fn an_event_is_a_line_in_which_nothing_speaks_to_a_terminal() {
        let path = "/a\u{1b}[2J\u{9b}31m\u{202e}\n\u{7f}\u{e0041}\u{e9}";
        let text = logged(|| {
            tracing::info!(path, "one {path}");
            tracing::info!("two");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), text.ends_with('\n')), (2, true), "{text:?}");
        assert!(lines.iter().all(|line| line.chars().all(plain_text::is_plain)), "{text:?}");
        let event: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((event["path"].as_str(), event["message"].as_str()), (Some(path), Some(&*format!("one {path}"))));
    }
}
