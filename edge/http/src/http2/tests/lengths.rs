//! Bodies with a length different from the announced length (RFC 9113 §8.1.1).

use proptest::prelude::*;

use super::*;

const INTERNAL_ERROR: u32 = 2;

/// Sources of a body: memory, parts, or an awaited response.
const KINDS: [&str; 3] = ["at-hand", "in-parts", "awaited"];

/// Returns a path with an answer of `parts` and a head that announces `announced` bytes.
fn path(kind: &str, announced: usize, parts: &[usize]) -> String {
    let parts: String = parts.iter().map(|part| format!("/{part}")).collect();
    format!("/{kind}/{announced}{parts}")
}

#[test]
fn a_body_of_another_length_than_announced_resets_its_stream() {
    for kind in KINDS {
        for (announced, parts) in
            [(6_600, &[2_200][..]), (10, &[]), (0, &[1]), (100_000, &[70_000, 29_999]), (5, &[5, 1])]
        {
            let mut rig = Rig::new();
            rig.send(
                [window(0, 1 << 20), window_of_streams(1 << 20), get(1, &path(kind, announced, parts)), get(3, "/")]
                    .concat(),
            );
            let came = rig.came(1);
            assert_eq!((came.ends, came.reset), (0, Some(INTERNAL_ERROR)), "{kind} {announced} {parts:?}");
            assert_eq!((rig.came(3).ends, rig.state), (1, State::Open), "{kind} {announced} {parts:?}");
        }
    }
}

/// Returns SETTINGS with a window of `bytes` for every stream.
fn window_of_streams(bytes: u32) -> Vec<u8> {
    settings(&[(4, bytes)])
}

proptest! {
    /// A stream ends without an error exactly if the announced bytes were sent.
    #[test]
    fn a_stream_ends_whole_or_with_an_error(
        kind in prop::sample::select(&KINDS),
        announced in 0..60_usize,
        parts in prop::collection::vec(0..30_usize, 0..4),
        is_exact: bool,
        windows in prop_oneof![Just(65_535_u32), 0..40_u32],
    ) {
        let total: usize = parts.iter().sum();
        let announced = if is_exact { total } else { announced };
        let mut rig = Rig::new();
        rig.send([window_of_streams(windows), get(1, &path(kind, announced, &parts))].concat());
        rig.send([window_of_streams(1_000), get(3, "/")].concat());
        let came = rig.came(1);
        prop_assert!(came.body.len() <= announced);
        prop_assert_eq!((came.ends, came.reset), if total == announced { (1, None) } else { (0, Some(INTERNAL_ERROR)) });
        prop_assert_eq!((rig.came(3).ends, rig.state), (1, State::Open));
    }
}
