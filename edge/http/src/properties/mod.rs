//! Properties for any input: short runs over random bytes; the fuzz targets run the same checks for long.

mod chunks;
mod connection;
mod engines;
mod frames;
mod hpack;
mod http1;
mod http3;
mod qpack;
mod script;
mod site;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate as engine;

proptest! {
    #[test]
    fn any_blocks_are_read_as_by_a_decoder_that_is_written_like_the_standard(input: Vec<u8>) {
        hpack::blocks_are_read_like_the_standard_says(&input);
    }

    #[test]
    fn blocks_that_are_nearly_sound_are_so_too(input in prop::collection::vec(nearly_sound(), 0..60)) {
        hpack::blocks_are_read_like_the_standard_says(&input.concat());
    }

    #[test]
    fn what_is_written_is_read_by_every_decoder(input in prop::collection::vec(any::<u8>(), 0..600)) {
        hpack::what_is_written_is_read(&input);
    }

    #[test]
    fn any_sections_are_read_as_by_a_decoder_that_is_written_like_the_standard(input: Vec<u8>) {
        qpack::a_section_is_read_like_the_standard_says(&input);
    }

    #[test]
    fn sections_that_are_nearly_sound_are_so_too(input in prop::collection::vec(nearly_sound_of_qpack(), 0..40)) {
        qpack::a_section_is_read_like_the_standard_says(&[&[0, 0][..], &input.concat()].concat());
    }

    #[test]
    fn what_is_written_for_http_3_is_read_by_every_decoder(input in prop::collection::vec(any::<u8>(), 0..200)) {
        qpack::what_is_written_is_read(&input);
    }

    #[test]
    fn a_body_in_chunks_means_the_same_in_any_pieces(
        input in prop::collection::vec(chunk(), 0..12),
        sizes in prop::collection::vec(1_u8.., 1..8),
    ) {
        chunks::pieces_mean_the_same(&input.concat(), &sizes);
    }

    #[test]
    fn what_stands_beside_chunks_has_the_same_limits_in_any_pieces(
        (line, count) in (prop_oneof![0_usize..600, 4_000_usize..4_200], 1_usize..60),
        trailers in prop_oneof![0_usize..200, 16_300_usize..16_500],
        sizes in prop::collection::vec(1_u8.., 1..8),
    ) {
        let chunks = format!("1;{}\r\na\r\n", "x".repeat(line)).repeat(count);
        let trailers = format!("0\r\nx: {}\r\n\r\n", "y".repeat(trailers));
        chunks::pieces_mean_the_same((chunks + &trailers).as_bytes(), &sizes);
    }

    #[test]
    fn plain_requests_are_answered_alike_in_any_pieces_and_with_any_room(
        requests in prop::collection::vec(request(), 0..6),
        sizes in prop::collection::vec(1_u8.., 1..8),
        room in 200_u16..,
    ) {
        http1::cuts_change_nothing(&requests.concat(), &sizes, room);
    }

    #[test]
    fn what_a_connection_sends_is_sound_whatever_it_is_sent(
        input in prop::collection::vec(any::<u8>(), 0..80),
        sizes in prop::collection::vec(1_u8.., 1..8),
        room: u16,
    ) {
        connection::what_is_sent_is_sound(&input, &sizes, room);
    }

    #[test]
    fn what_a_connection_of_http_3_sends_is_sound_whatever_it_is_sent(
        input in prop::collection::vec(any::<u8>(), 0..80),
        sizes in prop::collection::vec(1_u8.., 1..8),
        room: u16,
        takes: u16,
    ) {
        http3::what_is_sent_is_sound(&input, &sizes, room, takes);
    }

    #[test]
    fn any_frame_in_any_state_is_taken_or_refused_as_the_standard_says(input in one_frame()) {
        frames::each_is_taken_or_refused_as_the_standard_says(&input);
    }
}

proptest! {
    // Fixed seed: hyper may change choices of the standard between versions, but not by chance.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(9_113), ..ProptestConfig::default() })]

    #[test]
    fn the_engine_and_hyper_say_the_same(input in prop::collection::vec(any::<u8>(), 0..80)) {
        engines::both_say_the_same(&input);
    }
}

#[test]
fn a_body_of_empty_frames_is_too_slow_in_the_end() {
    // A POST, and DATA without a byte or an end.
    connection::what_is_sent_is_sound(&[0, 8, 3, 6, 0, 0], &[], 0);
}

#[test]
fn what_has_not_come_whole_is_refused_sooner_or_later() {
    // Incomplete HEADERS on stream 2; an unexpected CONTINUATION with a missing byte.
    engines::both_say_the_same(&[15, 9, 0, 0, 0, 1, 0, 0, 0, 0, 2]);
    engines::both_say_the_same(&[15, 9, 0, 0, 1, 9, 0, 0, 0, 0, 1]);
    // Incomplete HEADERS on an even stream and on further streams.
    engines::both_say_the_same(b"\xff\x04\x00\x00\x00\x01\x00\x00\x4f\x03\x1a");
}

#[test]
fn a_frame_that_is_too_long_is_refused_by_both_before_it_has_come() {
    engines::both_say_the_same(&[15, 9, 0, 0x40, 1, 0x20, 0, 0, 0, 0, 1]);
}

#[test]
fn what_comes_on_a_stream_that_the_client_has_reset_may_be_ignored_or_refused() {
    // GET on streams 1 and 3, RST_STREAM and an empty WINDOW_UPDATE on stream 3, GET on stream 5. GET on stream 3,
    // frames after its end, and RST_STREAM: a reset in return is no longer required.
    engines::both_say_the_same(
        &[
            &b"\xe5\0\0\0\x07\x09\x7e\x01\x54\x04\0\0\x09\x7e\x3a\x9a\xca\0\0\0\0\x09\x7a\x72"[..],
            &[0; 13],
            &[229, 229, 168],
            &[229; 4],
            &[45],
        ]
        .concat(),
    );
    engines::both_say_the_same(b"\x00\x07\xb8\xb8\x21\x29\x00\x00\x00\x3a\xb8\xb8\xb8\xb8\x00\x00");
}

#[test]
fn a_setting_that_only_one_of_them_knows_may_be_wrong_to_it() {
    // SETTINGS: SETTINGS_ENABLE_CONNECT_PROTOCOL of 2.
    engines::both_say_the_same(&[14, 4, 0, 0, 6, 0, 8, 0, 0, 0, 2]);
}

#[test]
fn a_block_that_resizes_the_table_a_third_time_may_be_read_or_refused() {
    // POST on streams 1 to 9 with SETTINGS in between, and trailers on stream 5: seven table size updates.
    let posts = b"\x00\x33\x33\x93\x93\x07\x30\x2c\x07\x99\x93\x93\x93\x33\x33\x33\xb3\x33\xcd\xc2\x50";
    engines::both_say_the_same(&[&posts[..], &[0x33; 7]].concat());
}

/// Returns input for [`frames::each_is_taken_or_refused_as_the_standard_says`]: a state, and a frame of mostly known
/// type.
fn one_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![9 => 0_u8..10, 1 => any::<u8>()];
    let flags = prop_oneof![prop::sample::select(vec![0, 1, 4, 5, 8, 13, 0x2d]), any::<u8>()];
    // The connection and stream 1, and lengths permitted for the type, as often as all other values.
    let (stream, shape) = (prop_oneof![0_u8..2, any::<u8>()], prop_oneof![1_u8..3, any::<u8>()]);
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(prop::sample::select(vec![0, 1, 2, 4, 5, 0x7f, 0xff]), 0..20),
    ];
    let head = (any::<u8>(), kind, flags, stream, shape).prop_map(<[u8; 5]>::from);
    (head, payload).prop_map(|(head, payload)| [&head, &payload[..]].concat())
}

/// Returns a request of HTTP/1.1 or a part, mostly plain.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec!["GET", "GET", "GET", "HEAD", "HEAD", "POST", "get", ""]);
    let path = prop::sample::select(site::PATHS.to_vec());
    let fields = prop::sample::select(vec![
        "Host: a\r\n",
        "host: a.example:8080\r\nAccept: */*\r\n",
        "Host: a\r\nConnection: close\r\n",
        "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n",
        "Host: a\r\nContent-Length: 3\r\n",
        "Host: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Host: a\nx:\n",
        "Host: a b\r\n",
        "",
    ]);
    let end = prop::sample::select(vec![
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "",
        "\r\nabc",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "\r\n3;x=y\r\nabc\r\n0\r\nx: y\r\n\r\n",
        "\r\n3\r\nabc\r\n0\n\n",
        " \0",
    ]);
    (method, path, fields, end)
        .prop_map(|(method, path, fields, end)| format!("{method} {path}?q HTTP/1.1\r\n{fields}{end}").into_bytes())
}

/// Returns input for [`chunks::pieces_mean_the_same`]: mostly a whole chunk or the end of a body.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let sound = vec![
        "3\r\nabc\r\n",
        "00a\r\n0123456789\r\n",
        "1 ;x=\"y\"\r\n\r\r\n",
        "2;\r\n\r\n\r\n",
        "0\r\n\r\n",
        "0;x\r\nA: b\r\nc:\t d \r\n\r\n",
    ];
    let unsound = vec![
        "3\nabc\r\n",
        "3\r\nabc\n",
        "0\r\nx: y\n\r\n",
        "0\n\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        "0\r\n1: 1\r\n2: 2\r\n3: 3\r\n4: 4\r\n5: 5\r\n\r\n",
        "10000000000000003\r\nabc\r\n",
        "fffffffffffffff3\r\nabc\r\n",
        "\r\n",
        "-1\r\n",
        "1;\0\r\na\r\n",
    ];
    prop_oneof![
        8 => prop::sample::select(sound).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(unsound).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

/// Returns input for [`hpack::blocks_are_read_like_the_standard_says`]: mostly a whole field.
fn nearly_sound() -> impl Strategy<Value = Vec<u8>> {
    let text =
        prop::sample::select(vec![&b"\x01a"[..], b"\x00", b"\x02X-", b"\x81\x1f", b"\x83\x9b\xd9\xab", b"\x81\x1e"]);
    let number = 0_u8..80;
    prop_oneof![
        8 => number.clone().prop_map(|number| vec![0x80 | number]),
        4 => (text.clone(), text.clone()).prop_map(|(name, value)| [b"\x40", name, value].concat()),
        4 => (number, 0_u8..3, text.clone()).prop_map(|(number, kind, text)| {
            let first = match kind {
                0 => vec![0x40 | number.min(0x3e)],
                1 if number > 14 => vec![0x0f, number - 15],
                1 => vec![number],
                _ if number > 14 => vec![0x1f, number - 15],
                _ => vec![0x10 | number],
            };
            [&first, text].concat()
        }),
        1 => (0_u8..31).prop_map(|size| vec![0x20 | size]),
        1 => (0_u8..128, 0_u8..33).prop_map(|(low, high)| vec![0x3f, 0x80 | low, high]),
        // A long value, to fill the table.
        1 => (0_u8..120).prop_map(|bytes| [&[0x40, 1, b'b', bytes][..], &vec![b'v'; bytes.into()]].concat()),
        // End of the block.
        2 => Just(vec![hpack::END_OF_BLOCK]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

/// Returns input for [`qpack::a_section_is_read_like_the_standard_says`]: mostly a whole field.
fn nearly_sound_of_qpack() -> impl Strategy<Value = Vec<u8>> {
    let value = prop::sample::select(vec![&b"\x01a"[..], b"\x00", b"\x02X-", b"\x81\x1f", b"\x83\x9b\xd9\xab"]);
    let name = prop::sample::select(vec![&b"\x21a"[..], b"\x32X-", b"\x29\x1f", b"\x3b\x9b\xd9\xab", b"\x20"]);
    prop_oneof![
        8 => (0_u8..100).prop_map(|number| match number {
            0..63 => vec![0xc0 | number],
            _ => vec![0xff, number - 63],
        }),
        4 => (0_u8..100, any::<bool>(), value.clone()).prop_map(|(number, never, value)| {
            let first = if never { 0x70 } else { 0x50 };
            let name = if number < 15 { vec![first | number] } else { vec![first | 15, number - 15] };
            [&name, value].concat()
        }),
        4 => (name, value).prop_map(|(name, value)| [name, value].concat()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

#[test]
fn a_long_value_in_huffman_codes_takes_few_times_its_length() {
    // CONTINUATION after HEADERS: nearly all bytes are one value.
    frames::each_is_taken_or_refused_as_the_standard_says(&[
        0xfa, 0x9, 0xff, 0xff, 0x1e, 0xbb, 0x4a, 0xff, 0xff, 0xf6, 0x0, 0xf, 0xf, 0xf, 0xd, 0xf, 0x6f, 0xf, 0xf, 0xf,
        0xf, 0x31, 0x1, 0x8, 0x0, 0x0, 0x0, 0x0, 0x0, 0xf, 0xf, 0x2,
    ]);
}

#[test]
fn bytes_beyond_the_window_of_a_stream_that_was_answered_may_be_passed_over() {
    // POST on stream 1, answered at once and reset; then more DATA than the window of the stream.
    engines::both_say_the_same(include_bytes!("answered_early.bin"));
    // POST on streams 3 to 7, answered at once and reset; then more DATA in total than the window of the connection,
    // and no more per stream than the window of the stream.
    engines::both_say_the_same(include_bytes!("answered_early_together.bin"));
}
