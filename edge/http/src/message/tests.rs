//! Remembered heads of a thread, compared with reading each head.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::hpack::Decoder;

fn limits() -> Limits {
    let time = Duration::from_secs(1);
    Limits {
        streams: 1,
        header_bytes: 400,
        header_fields: 7,
        target_bytes: 100,
        stream_window: 1 << 16,
        connection_window: 1 << 16,
        requests: 1,
        resets_per_second: 1,
        control_frames_per_second: 1,
        response_bytes: 262_144,
        header: time,
        write: time,
        body: time,
        linger: time,
        linger_bytes: 1,
    }
}

/// Returns a field of a block, or a few invalid bytes.
fn field(number: u8) -> Vec<u8> {
    let letter = b'a' + number % 5;
    match number % 16 {
        0..6 => vec![0x80 | (62 + number % 6)],
        6 => vec![0x80 | 16],
        7 => vec![0x80 | 19],
        8 => vec![0x80 | 28],
        9 => vec![0x82],
        10 => vec![0xff, 0],
        11..14 => vec![0x40, 1, letter, 1, letter],
        14 => vec![0x0f, 0, 1, letter],
        _ => vec![0x00, 1, letter, 1, b'1'],
    }
}

/// Returns the pseudo fields of a block.
fn pseudo(number: u8) -> &'static [u8] {
    match number % 8 {
        0 => b"\x82\x87\x04\x04/a?b",
        1 => b"\x83\x86\x44\x05/?x?y",
        2 => b"\x82\x87\x84\x41\x01h",
        3 => b"\x82\x87\x84\x01\x02hi",
        4 => b"\x02\x07CONNECT\x01\x01h",
        5 => b"\x82\x87\x04\x02/?",
        6 => b"\x02\x07OPTIONS\x87\x04\x01*",
        _ => b"\x82\x87\x84",
    }
}

fn described(read: Result<Result<(), Unsound>, DecodeError>, scratch: &Scratch) -> String {
    match read {
        Ok(Ok(())) => {
            let request = scratch.read.request(Version::HTTP_2, &scratch.lines);
            let lines: Vec<_> = scratch.lines.iter().collect();
            let found = request.fields.get_all(&header::ACCEPT).count();
            let RequestHead { method, scheme, authority, path, query, .. } = request;
            let length = scratch.read.content_length();
            format!("{method} {scheme:?} {authority:?} {path} {query:?} {length:?} {lines:?} {found}")
        }
        otherwise => format!("{otherwise:?}"),
    }
}

proptest! {
    /// Remembered heads of a thread's connections do not change the next head.
    #[test]
    fn heads_are_read_as_if_there_were_none_before(
        kinds in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 1..5),
        order in prop::collection::vec((0..2_usize, any::<prop::sample::Index>()), 1..24),
    ) {
        let (limits, mut scratch) = (limits(), Scratch::default());
        let mut decoders = [0, 1].map(|_| (Decoder::new(4_096), Decoder::new(4_096)));
        for (connection, kind) in order {
            let (ahead, fields) = kind.get(&kinds);
            let fields = fields.iter().flat_map(|number| field(*number));
            let block: Vec<u8> = pseudo(*ahead).iter().copied().chain(fields).collect();
            let (warm, cold) = &mut decoders[connection];
            let mut fresh = Scratch::default();
            let expected = read(cold, &block, &limits, &mut fresh);
            let found = read(warm, &block, &limits, &mut scratch);
            let is_over = found.is_err();
            prop_assert_eq!(described(found, &scratch), described(expected, &fresh));
            if is_over {
                break;
            }
        }
    }
}
