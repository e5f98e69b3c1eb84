//! Streams no longer received, although the client may not know yet (RFC 9113 §5.1).

use std::collections::VecDeque;

use super::flow::WINDOW_DEFAULT;
use super::frame::{Code, Fault};

/// Minimum number of remembered reset streams, for which late frames are no error.
const RECENT_MIN: u32 = 256;

/// Streams reset lately by this end: frames sent before the peer learned of the reset are no error (§5.1).
#[derive(Debug)]
pub(super) struct Recent {
    ids: VecDeque<u32>,
    max: u32,
    /// Bytes possibly under way to streams when reset or skipped: the sum of their windows.
    late_bytes: u32,
}

impl Recent {
    /// Creates the list for a connection of `streams` concurrent streams: all can be reset, and their slots reused.
    pub(super) fn new(streams: u32) -> Self {
        Self { ids: VecDeque::new(), max: streams.saturating_mul(2).max(RECENT_MIN), late_bytes: 0 }
    }

    pub(super) fn add(&mut self, id: u32) {
        if u32::try_from(self.ids.len()).is_ok_and(|count| count >= self.max) {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Records a stream with this window as no longer received: that many bytes may be under way.
    pub(super) fn expect(&mut self, window: u32) {
        self.late_bytes = self.late_bytes.saturating_add(window.max(WINDOW_DEFAULT));
    }

    /// Counts bytes for streams that are not received.
    ///
    /// # Errors
    ///
    /// Fails for more bytes than the windows, which are never reopened.
    pub(super) fn receive(&mut self, bytes: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.late_bytes = self.late_bytes.checked_sub(bytes).ok_or(Fault::Connection(Code::FlowControl))?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_were_reset_are_remembered_for_a_while() {
        for (streams, remembered) in [(1, 256), (128, 256), (1_000, 2_000)] {
            let mut recent = Recent::new(streams);
            for id in 0..10_000 {
                recent.add(id);
            }
            assert!(recent.contains(9_999) && recent.contains(10_000 - remembered));
            assert!(!recent.contains(9_999 - remembered));
            assert!(recent.held_bytes() <= remembered as usize * 8);
        }
    }

    #[test]
    fn no_more_comes_late_than_fits_the_windows_of_what_was_reset() {
        let mut recent = Recent::new(1);
        assert_eq!(recent.receive(1), Err(Fault::Connection(Code::FlowControl)));
        recent.expect(100_000);
        // The client may not know yet that the window is smaller than the default.
        recent.expect(1);
        assert_eq!((recent.receive(100_000), recent.receive(65_535)), (Ok(()), Ok(())));
        assert_eq!((recent.receive(0), recent.receive(1)), (Ok(()), Err(Fault::Connection(Code::FlowControl))));
    }
}
