//! SETTINGS of both ends (RFC 9114 §7.2.4, RFC 9204 §5).

use super::super::limits::Limits;
use super::frame::{self, Code, Fault, kind};

/// Identifiers of settings.
mod id {
    pub(super) const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
    pub(super) const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
    pub(super) const QPACK_BLOCKED_STREAMS: u64 = 0x7;

    /// Returns true for a setting of HTTP/2 that HTTP/3 reserves (§7.2.4.1): ENABLE_PUSH, MAX_CONCURRENT_STREAMS,
    /// INITIAL_WINDOW_SIZE and MAX_FRAME_SIZE.
    pub(super) const fn is_of_http2(id: u64) -> bool {
        matches!(id, 0x2..=0x5)
    }
}

/// Maximum settings of one frame: more than are defined, since peers may add unknown settings as a test (§7.2.4.1).
const SETTINGS_MAX: usize = 64;

/// Adds this end's SETTINGS. An empty table and no blocked streams are the QPACK defaults (RFC 9204 §5), and are sent
/// nevertheless.
pub(super) fn write_own(into: &mut Vec<u8>, limits: &Limits) {
    let header_bytes = u64::try_from(limits.header_bytes).unwrap_or(u64::MAX).min(frame::NUMBER_MAX);
    let mut payload = Vec::new();
    for (id, value) in
        [(id::QPACK_MAX_TABLE_CAPACITY, 0), (id::MAX_FIELD_SECTION_SIZE, header_bytes), (id::QPACK_BLOCKED_STREAMS, 0)]
    {
        frame::write_number(&mut payload, id);
        frame::write_number(&mut payload, value);
    }
    frame::write_head(into, kind::SETTINGS, payload.len());
    into.extend_from_slice(&payload);
}

/// Checks the peer's SETTINGS. No setting changes the output: the peer's QPACK table is not used, and a response head
/// beyond the peer's limit is sent nevertheless, as over HTTP/2 (§4.2.2: the peer may refuse the response).
///
/// # Errors
///
/// H3_FRAME_ERROR for a truncated setting (§7.1); H3_SETTINGS_ERROR for a setting of HTTP/2 (§7.2.4.1) or a repeated
/// setting (§7.2.4); H3_EXCESSIVE_LOAD for too many settings.
pub(super) fn check(mut payload: &[u8]) -> Result<(), Fault> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let setting = frame::number(payload).and_then(|(id, rest)| Some((id, frame::number(rest)?.1)));
        let Some((id, rest)) = setting else { return Err(Fault::Connection(Code::Frame)) };
        if id::is_of_http2(id) || seen.contains(&id) {
            return Err(Fault::Connection(Code::Settings));
        }
        if seen.len() == SETTINGS_MAX {
            return Err(Fault::Connection(Code::ExcessiveLoad));
        }
        seen.push(id);
        payload = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(settings: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in settings.iter().flat_map(|(id, value)| [*id, *value]) {
            frame::write_number(&mut bytes, number);
        }
        bytes
    }

    #[test]
    fn settings_of_http_3_and_unknown_ones_are_taken_once() {
        assert_eq!(check(&[]), Ok(()));
        let all = [(1, 4_096), (6, 1 << 20), (7, 100), (0x21, 5), (0x33, 1), (8, 1), (frame::NUMBER_MAX, 0)];
        assert_eq!(check(&payload(&all)), Ok(()));
        for id in [1, 6, 7, 0x21, 0x40] {
            assert_eq!(check(&payload(&[(id, 1), (9, 9), (id, 1)])), Err(Fault::Connection(Code::Settings)), "{id}");
        }
        for id in 2..=5 {
            assert_eq!(check(&payload(&[(id, 0)])), Err(Fault::Connection(Code::Settings)), "{id}");
        }
    }

    #[test]
    fn settings_that_are_cut_off_or_too_many_are_refused() {
        let whole = payload(&[(6, 1 << 20), (0x4021, 1 << 40)]);
        for end in (1..whole.len()).filter(|end| *end != 5) {
            assert_eq!(check(&whole[..end]), Err(Fault::Connection(Code::Frame)), "{end}");
        }
        let many = |count: u64| payload(&(0..count).map(|number| (0x100 + number, 1)).collect::<Vec<_>>());
        assert_eq!(check(&many(64)), Ok(()));
        assert_eq!(check(&many(65)), Err(Fault::Connection(Code::ExcessiveLoad)));
    }
}
