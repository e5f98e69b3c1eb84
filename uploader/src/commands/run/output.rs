//! Writes what a command writes, and reads what is for it, on threads of their own: a reader that rests, or nobody at
//! the keyboard, holds up nothing else.

use std::io::{self, Read as _, Write as _};
use std::thread;

use devanture_config::run_stream::CHUNK_BYTES;
use tokio::sync::mpsc;

/// An output of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Stdout,
    Stderr,
}

/// What became of output.
#[derive(Debug)]
pub(super) enum Written {
    /// So many bytes were written.
    Bytes(usize),
    /// The reader is gone.
    Closed,
}

/// Output on its way.
pub(super) struct Writer {
    /// As many bytes wait as the window has, which the edge keeps.
    to: mpsc::UnboundedSender<(To, Vec<u8>)>,
    written: mpsc::UnboundedReceiver<Written>,
}

impl Writer {
    pub(super) fn start() -> Self {
        let (to, mut waiting) = mpsc::unbounded_channel::<(To, Vec<u8>)>();
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
        Self { to, written }
    }

    pub(super) fn put(&self, to: To, bytes: Vec<u8>) {
        // Where its thread has ended, `written` says so.
        self.to.send((to, bytes)).ok();
    }

    /// What became of the next output; `None` once its thread has ended. May be dropped before it is ready.
    pub(super) async fn written(&mut self) -> Option<Written> {
        self.written.recv().await
    }

    /// Waits until all of it is written.
    pub(super) async fn end(self) {
        let Self { to, mut written } = self;
        drop(to);
        while let Some(Written::Bytes(_)) = written.recv().await {}
    }
}

fn write(to: To, bytes: &[u8]) -> io::Result<()> {
    match to {
        To::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        To::Stderr => io::stderr().lock().write_all(bytes),
    }
}

/// What is read from the standard input, piece by piece; an empty piece is its end.
pub(super) fn input() -> mpsc::Receiver<Vec<u8>> {
    let (to, pieces) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let piece = match io::stdin().lock().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // What cannot be read, as where it is closed, has ended.
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
