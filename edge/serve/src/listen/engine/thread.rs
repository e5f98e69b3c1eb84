//! State shared by all connections of a thread, used in turns: I/O buffers, and the date.

use std::cell::Cell;
use std::time::{Duration, Instant};

use devanture_site::date::ImfFixdate;

use super::pieces::Pieces;
use devanture_base::clock::since_epoch;
use devanture_http::{Scratch, SharedField, Turn};

/// Bytes read from a socket at once.
const INPUT_BYTES: usize = 64 * 1024;

thread_local! {
    static SHARED: Cell<Option<Box<PerThread>>> = const { Cell::new(None) };
}

/// The shared state of a thread, lent to the connection whose turn it is.
pub(in super::super) struct PerThread {
    /// Input buffer.
    pub(super) input: Vec<u8>,
    /// The output buffer.
    pub(super) pieces: Pieces,
    /// The engine's scratch memory.
    pub(super) scratch: Scratch,
    /// The field `date`, and the end of the current second.
    date: SharedField,
    date_until: Instant,
}

impl PerThread {
    /// Lends the thread's state to `turn` at the time `now`.
    pub(in super::super) fn lend<R>(now: Instant, turn: impl FnOnce(&mut Self) -> R) -> R {
        let mut shared = SHARED.take().unwrap_or_else(|| Box::new(Self::new(now)));
        shared.renew_date(now);
        let result = turn(&mut shared);
        shared.pieces.clear();
        SHARED.set(Some(shared));
        result
    }

    fn new(now: Instant) -> Self {
        let (date, date_until) = date(now);
        Self { input: vec![0; INPUT_BYTES], pieces: Pieces::default(), scratch: Scratch::default(), date, date_until }
    }

    fn renew_date(&mut self, now: Instant) {
        if now >= self.date_until {
            (self.date, self.date_until) = date(now);
        }
    }

    /// Returns the state for a turn of an engine without a socket: the date, and the scratch memory.
    pub(in super::super) fn turn(&mut self, now: Instant) -> Turn<'_> {
        Turn { now, date: &self.date, scratch: &mut self.scratch }
    }

    /// Returns the parts for immediate use.
    pub(super) fn parts(&mut self) -> (&mut [u8], &mut Pieces, &mut Scratch, &SharedField) {
        (&mut self.input, &mut self.pieces, &mut self.scratch, &self.date)
    }
}

/// Returns the field `date`, and the end of the current second.
fn date(now: Instant) -> (SharedField, Instant) {
    let since = since_epoch();
    let rest = Duration::from_secs(1).saturating_sub(Duration::from_nanos(since.subsec_nanos().into()));
    (SharedField::new("date", ImfFixdate::from_seconds(since.as_secs()).as_str().as_bytes()), now + rest)
}
