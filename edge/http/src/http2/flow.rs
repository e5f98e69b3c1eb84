//! Flow-control windows (RFC 9113 §5.2 and §6.9) of both directions.

/// Maximum size of a window.
pub(super) const WINDOW_MAX: u32 = (1 << 31) - 1;
/// Initial size of every window.
pub(super) const WINDOW_DEFAULT: u32 = 65_535;

/// A window exceeded the maximum, or the peer exceeded a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded;

/// Send window. A change of `SETTINGS_INITIAL_WINDOW_SIZE` can make the window negative (§6.9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Returns the bytes that may be sent now.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Counts sent bytes: at most the available bytes.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.0 -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// Returns counted bytes that are not sent after all.
    pub(super) fn refund(&mut self, bytes: usize) {
        self.0 += i64::try_from(bytes).unwrap_or(0);
    }

    /// Moves the window by an increment of the peer or a change of the peer's settings.
    ///
    /// # Errors
    ///
    /// Fails beyond 2³¹-1 (§6.9.1).
    pub(super) fn shift(&mut self, by: i64) -> Result<(), Exceeded> {
        let window = self.0 + by;
        if window > i64::from(WINDOW_MAX) {
            return Err(Exceeded);
        }
        self.0 = window;
        Ok(())
    }
}

/// Receive window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    /// Bytes that the peer may still send according to the increments sent.
    open: u32,
    /// Consumed bytes not yet returned to the peer by WINDOW_UPDATE.
    taken: u32,
    /// Largest window announced to the peer.
    size: u32,
    /// Consumed bytes after which a WINDOW_UPDATE is sent.
    notable: u32,
}

impl ReceiveWindow {
    /// Creates a window announced with the given size. Before reading the announcement, the peer may assume the
    /// default, which is permitted.
    pub(super) fn new(announced: u32) -> Self {
        let size = announced.clamp(WINDOW_DEFAULT, WINDOW_MAX);
        Self { open: size, taken: 0, size, notable: (announced / 2).clamp(1, WINDOW_MAX / 2) }
    }

    /// Returns the bytes that the peer may still send according to the increments sent.
    pub(super) fn open(self) -> u32 {
        self.open
    }

    /// Returns the increment that announces the size to the peer.
    pub(super) fn beyond_default(self) -> u32 {
        self.size - WINDOW_DEFAULT
    }

    /// Counts received bytes.
    ///
    /// # Errors
    ///
    /// Fails if the peer exceeds the window.
    pub(super) fn receive(&mut self, bytes: usize) -> Result<(), Exceeded> {
        let bytes = u32::try_from(bytes).map_err(|_too_many| Exceeded)?;
        self.open = self.open.checked_sub(bytes).ok_or(Exceeded)?;
        Ok(())
    }

    /// Counts consumed bytes. Returns the increment to send once half of the window is consumed.
    pub(super) fn give_back(&mut self, bytes: usize) -> Option<u32> {
        // Received bytes were permitted, so the sum is at most the size.
        let came = self.size.saturating_sub(self.open);
        self.taken = self.taken.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)).min(came);
        if self.taken < self.notable {
            return None;
        }
        self.open += self.taken;
        Some(std::mem::take(&mut self.taken))
    }

    /// Marks all received bytes as consumed. Returns the increment to send, if any.
    pub(super) fn give_all_back(&mut self) -> Option<u32> {
        let came = self.size.saturating_sub(self.open);
        (self.open, self.taken) = (self.open + came, 0);
        (came > 0).then_some(came)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_is_as_large_as_it_was_announced_and_can_be_negative() {
        let mut window = SendWindow::new(1_000);
        window.spend(1_000);
        assert_eq!(window.available(), 0);
        window.shift(-1_000).unwrap();
        assert_eq!(window.available(), 0);
        window.shift(1_000).unwrap();
        assert_eq!(window.available(), 0);
        window.shift(1).unwrap();
        assert_eq!(window.available(), 1);
        window.refund(4);
        assert_eq!(window.available(), 5);
    }

    #[test]
    fn a_window_is_at_most_2_to_31_less_1() {
        let mut window = SendWindow::new(0);
        window.shift(i64::from(WINDOW_MAX)).unwrap();
        assert_eq!(window.shift(1), Err(Exceeded));
        assert_eq!(window.available(), 0x7fff_ffff);
        window.spend(1);
        assert_eq!(window.shift(1), Ok(()));
    }

    #[test]
    fn a_window_is_updated_when_half_of_it_was_taken() {
        let mut window = ReceiveWindow::new(100_000);
        assert_eq!(window.beyond_default(), 34_465);
        window.receive(60_000).unwrap();
        assert_eq!(window.give_back(49_999), None);
        assert_eq!(window.give_back(1), Some(50_000));
        assert_eq!(window.give_back(0), None);
        assert_eq!(window.receive(90_001), Err(Exceeded));
        assert_eq!(window.receive(90_000), Ok(()));
        assert_eq!(window.receive(1), Err(Exceeded));
        assert_eq!(window.receive(0), Ok(()));
        assert_eq!(window.give_back(100_000), Some(100_000));
        assert_eq!(window.receive(100_000), Ok(()));
    }

    #[test]
    fn a_window_is_no_less_than_a_peer_believes_at_first() {
        let mut window = ReceiveWindow::new(10);
        assert_eq!(window.beyond_default(), 0);
        assert_eq!(window.receive(65_535), Ok(()));
        assert_eq!(window.receive(1), Err(Exceeded));
        assert_eq!((window.give_back(4), window.give_back(1)), (None, Some(5)));
        assert_eq!(ReceiveWindow::new(u32::MAX).beyond_default(), WINDOW_MAX - 65_535);
    }

    proptest! {
        /// A peer that uses the whole window is never refused, and never stuck once all bytes are consumed.
        #[test]
        fn both_ends_agree_about_a_window(size in 0_u32..1 << 20, steps: Vec<(u32, u32)>) {
            let mut window = ReceiveWindow::new(size);
            let (mut announced, mut held) = (65_535 + window.beyond_default(), 0);
            for (send, take) in steps {
                let sent = send % (announced + 1);
                prop_assert_eq!(window.receive(sent as usize), Ok(()));
                (announced, held) = (announced - sent, held + sent);
                let taken = take % (held + 1);
                held -= taken;
                announced += window.give_back(taken as usize).unwrap_or(0);
                prop_assert!(announced + held <= size.max(65_535));
            }
            announced += window.give_back(held as usize).unwrap_or(0);
            prop_assert!(announced > size.max(65_535) / 2);
        }
    }
}
