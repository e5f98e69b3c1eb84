//! SETTINGS of both ends (RFC 9113 §6.5).

use super::super::limits::Limits;
use super::flow::{WINDOW_DEFAULT, WINDOW_MAX};
use super::frame::{Code, Fault, PAYLOAD_BYTES_MAX};

/// Identifiers of settings (§6.5.2).
mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(super) const MAX_FRAME_SIZE: u16 = 5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Maximum value of `SETTINGS_MAX_FRAME_SIZE`.
const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;

/// Returns the payload of this end's SETTINGS.
pub(super) fn own(limits: &Limits) -> Vec<u8> {
    let header_bytes = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let settings = [
        (id::MAX_CONCURRENT_STREAMS, limits.streams),
        (id::INITIAL_WINDOW_SIZE, limits.stream_window.min(WINDOW_MAX)),
        (id::MAX_HEADER_LIST_SIZE, header_bytes),
    ];
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (id, value) in settings {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    payload
}

/// Settings of the peer, as far as relevant to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerSettings {
    /// Initial window of a stream.
    pub(super) window: u32,
    /// Maximum payload of one frame.
    pub(super) frame_bytes: usize,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self { window: WINDOW_DEFAULT, frame_bytes: PAYLOAD_BYTES_MAX }
    }
}

impl PeerSettings {
    /// Applies the values of a SETTINGS frame in order; each table size is passed to `resize_table`. Unknown and
    /// advisory settings are ignored.
    ///
    /// # Errors
    ///
    /// Connection errors of §6.5 and §6.5.2.
    pub(super) fn update(&mut self, payload: &[u8], mut resize_table: impl FnMut(u32)) -> Result<(), Fault> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::Connection(Code::FrameSize));
        }
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                id::HEADER_TABLE_SIZE => resize_table(value),
                id::ENABLE_PUSH if value > 1 => return Err(Fault::Connection(Code::Protocol)),
                id::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => return Err(Fault::Connection(Code::FlowControl)),
                id::INITIAL_WINDOW_SIZE => self.window = value,
                id::MAX_FRAME_SIZE => {
                    let bytes = usize::try_from(value).unwrap_or(usize::MAX);
                    if bytes < PAYLOAD_BYTES_MAX || value > FRAME_BYTES_MAX {
                        return Err(Fault::Connection(Code::Protocol));
                    }
                    self.frame_bytes = bytes;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(settings: &[(u16, u32)]) -> Vec<u8> {
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
    }

    #[test]
    fn values_are_taken_over_in_their_order_and_the_unknown_are_passed_over() {
        let (mut settings, mut sizes) = (PeerSettings::default(), Vec::new());
        let sent = [(4, 100), (0x7a7a, u32::MAX), (1, 0), (5, 20_000), (4, 7), (1, 4_096), (2, 1), (3, 0), (6, 1)];
        settings.update(&payload(&sent), |size| sizes.push(size)).unwrap();
        assert_eq!(settings, PeerSettings { window: 7, frame_bytes: 20_000 });
        assert_eq!(sizes, [0, 4_096]);
    }

    #[test]
    fn values_that_are_not_allowed_are_errors_of_their_own() {
        #[rustfmt::skip]
        let cases = [
            ((2, 2),             Err(Fault::Connection(Code::Protocol))),
            ((4, WINDOW_MAX),    Ok(())),
            ((4, 1 << 31),       Err(Fault::Connection(Code::FlowControl))),
            ((5, 16_383),        Err(Fault::Connection(Code::Protocol))),
            ((5, 16_384),        Ok(())),
            ((5, (1 << 24) - 1), Ok(())),
            ((5, 1 << 24),       Err(Fault::Connection(Code::Protocol))),
        ];
        for (setting, expected) in cases {
            assert_eq!(PeerSettings::default().update(&payload(&[setting]), |_| {}), expected, "{setting:?}");
        }
        assert_eq!(PeerSettings::default().update(&[0; 5], |_| {}), Err(Fault::Connection(Code::FrameSize)));
    }
}
