//! Writes the output of a command, and reads its input, on separate threads: neither a slow reader nor an idle keyboard
//! blocks the rest.

use std::io::{self, Read as _, Write as _};
use std::thread;

use devanture_config::run_stream::{CHUNK_BYTES, FRAME_BYTES_MAX, WINDOW_BYTES};
use tokio::sync::mpsc;

/// Upper bound of unwritten bytes: the edge may send that much ahead, as it checks its window before it sends the last
/// frame.
pub(super) const UNWRITTEN_BYTES_MAX: usize = WINDOW_BYTES + FRAME_BYTES_MAX;

/// Written bytes reported to the edge at once: the edge accepts small frames only at a limited rate, while programs
/// write single lines. The rest of the window is open meanwhile.
const REPORTED_BYTES: usize = WINDOW_BYTES / 8;

/// An output of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputStream {
    Stdout,
    Stderr,
}

/// The result of writing output.
#[derive(Debug)]
pub(super) enum Written {
    /// So many bytes were written.
    Bytes(usize),
    /// The reader is gone.
    Closed,
}

/// A writer of output.
pub(super) struct Writer {
    /// No more than [`UNWRITTEN_BYTES_MAX`] wait.
    to: mpsc::UnboundedSender<(OutputStream, Vec<u8>)>,
    written: mpsc::UnboundedReceiver<Written>,
    unwritten: usize,
    /// Written bytes that are not reported yet.
    unreported: usize,
}

impl Writer {
    pub(super) fn start() -> Self {
        let (to, mut waiting) = mpsc::unbounded_channel::<(OutputStream, Vec<u8>)>();
        let (report, written) = mpsc::unbounded_channel();
        thread::spawn(move || {
            while let Some((to, bytes)) = waiting.blocking_recv() {
                let done = match write(to, &bytes) {
                    Ok(()) => Written::Bytes(bytes.len()),
                    Err(_) => Written::Closed,
                };
                if report.send(done).is_err() {
                    return;
                }
            }
        });
        Self { to, written, unwritten: 0, unreported: 0 }
    }

    /// Queues output; false, without any effect, if the queue would exceed the bytes that the edge may send ahead.
    #[must_use]
    pub(super) fn put(&mut self, to: OutputStream, bytes: Vec<u8>) -> bool {
        let unwritten = self.unwritten.saturating_add(bytes.len());
        let is_within = unwritten <= UNWRITTEN_BYTES_MAX;
        // An empty piece costs memory, and no window.
        if is_within && !bytes.is_empty() {
            self.unwritten = unwritten;
            // If the thread has ended, `written` reports that.
            self.to.send((to, bytes)).ok();
        }
        is_within
    }

    /// Returns the progress: enough written bytes for a report, or the end. `None` once the thread has ended.
    /// Cancel-safe.
    pub(super) async fn written(&mut self) -> Option<Written> {
        loop {
            let Written::Bytes(bytes) = self.written.recv().await? else { return Some(Written::Closed) };
            self.unwritten = self.unwritten.saturating_sub(bytes);
            self.unreported = self.unreported.saturating_add(bytes);
            if self.unreported >= REPORTED_BYTES {
                return Some(Written::Bytes(std::mem::take(&mut self.unreported)));
            }
        }
    }

    /// Waits until the whole output is written.
    pub(super) async fn end(self) {
        let Self { to, mut written, .. } = self;
        drop(to);
        while let Some(Written::Bytes(_)) = written.recv().await {}
    }
}

fn write(to: OutputStream, bytes: &[u8]) -> io::Result<()> {
    match to {
        OutputStream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        OutputStream::Stderr => io::stderr().lock().write_all(bytes),
    }
}

/// Returns the pieces read from the standard input; an empty piece is its end.
pub(super) fn input() -> mpsc::Receiver<Vec<u8>> {
    let (to, pieces) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let piece = match io::stdin().lock().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // An unreadable or closed input counts as ended.
                read => buffer.get(..read.unwrap_or(0)).unwrap_or_default().to_vec(),
            };
            let is_last = piece.is_empty();
            if to.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_edge_that_sends_beyond_its_window_fills_no_memory() {
        // The output has no reader.
        let (to, mut waiting) = mpsc::unbounded_channel();
        let (report, written) = mpsc::unbounded_channel();
        let mut writer = Writer { to, written, unwritten: 0, unreported: 0 };
        let mut sent = 0;
        while sent < 1_000 && writer.put(OutputStream::Stdout, vec![0; CHUNK_BYTES]) {
            sent += 1;
            assert!(writer.put(OutputStream::Stderr, Vec::new()));
        }
        // More than the window is no fault of an edge that checked the window before the last frame.
        assert_eq!(sent * CHUNK_BYTES, WINDOW_BYTES + FRAME_BYTES_MAX);
        for _ in 0..sent {
            assert_eq!(waiting.recv().await.unwrap().1.len(), CHUNK_BYTES);
        }
        assert!(waiting.try_recv().is_err());
        // Written bytes make room.
        report.send(Written::Bytes(REPORTED_BYTES)).unwrap();
        writer.written().await.unwrap();
        assert!(
            writer.put(OutputStream::Stdout, vec![0; REPORTED_BYTES]) && !writer.put(OutputStream::Stdout, vec![0])
        );
    }

    #[tokio::test]
    async fn of_many_single_lines_the_edge_learns_together() {
        let (to, _waiting) = mpsc::unbounded_channel();
        let (report, written) = mpsc::unbounded_channel();
        let mut writer = Writer { to, written, unwritten: 0, unreported: 0 };
        for _ in 0..3 * REPORTED_BYTES {
            report.send(Written::Bytes(1)).unwrap();
        }
        drop(report);
        for _ in 0..3 {
            assert!(matches!(writer.written().await, Some(Written::Bytes(REPORTED_BYTES))));
        }
        assert!(writer.written().await.is_none());
    }
}
