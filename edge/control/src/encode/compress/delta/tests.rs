//! Tests of deltas: for any two texts, a delta decodes to the file, here and in third-party decoders.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use devanture_base::durable;

const QUALITIES: [Quality; 2] = [Quality::Quick, Quality::Best];

fn made(bytes: &[u8], dictionary: &[u8], form: DeltaForm, quality: Quality) -> Vec<u8> {
    encode(bytes, dictionary, sha256(dictionary), form, quality).unwrap()
}

fn decoded(delta: &[u8], dictionary: &[u8], form: DeltaForm, size_max: usize) -> Option<Vec<u8>> {
    decode(delta, dictionary, sha256(dictionary), form, size_max)
}

/// Bytes without repetitions.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A bundler-like script, with small differences between releases.
fn script(release: usize) -> Vec<u8> {
    let mut lines: Vec<String> =
        noise(7, 6_000).array_windows().map(|[a, b, c]| format!("export const f{a}=(x,y)=>x+{b}*y-g{c}(x);")).collect();
    for line in lines.iter_mut().skip(release).step_by(900) {
        *line = format!("/*{release}*/{line}");
    }
    lines.join("\n").into_bytes()
}

#[test]
fn a_delta_begins_with_its_form_and_with_the_sha_256_of_its_dictionary() {
    // SHA-256 of `abc`, from FIPS 180-4's examples.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(b"abc").to_string(), digest);
    for (form, magic, length) in [(DeltaForm::Dcb, "ff444342", 36), (DeltaForm::Dcz, "5e2a4d1820000000", 40)] {
        let delta = made(b"abcabc", b"abc", form, Quality::Quick);
        assert_eq!(hex::encode(&delta[..length]), format!("{magic}{digest}"), "{form:?}");
    }
}

#[test]
fn of_two_releases_the_second_costs_little_more_than_what_is_new() {
    let (old, new) = (script(1), script(2));
    for (form, plain) in
        [(DeltaForm::Dcb, devanture_store::blobs::Form::Br), (DeltaForm::Dcz, devanture_store::blobs::Form::Zst)]
    {
        for quality in QUALITIES {
            let delta = made(&new, &old, form, quality);
            let plain = super::super::encode::encode(&new, plain, quality).unwrap();
            assert!(delta.len() * 8 < plain.len(), "{form:?} {quality:?}: {} of {}", delta.len(), plain.len());
            assert!(is_worth_keeping(plain.len() as u64, delta.len() as u64));
        }
    }
}

#[test]
fn a_delta_that_saves_less_than_a_fifth_is_not_kept() {
    assert!(is_worth_keeping(1_000, 800) && !is_worth_keeping(1_000, 801));
    assert!(is_worth_keeping(0, 0) && !is_worth_keeping(0, 1));
}

#[test]
fn no_copy_runs_over_the_end_of_the_dictionary() {
    let (bytes, dictionary) = ([2, 1, 0, 2, 1, 0, 2, 2, 0], [0, 2, 1, 0]);
    // Without a marked end, no browser accepts the encoder's output.
    let stream = brotli(&bytes, &dictionary, 11).unwrap();
    assert_eq!(unbrotli(&stream, &dictionary, bytes.len()), None);
    assert_eq!(
        unbrotli(&brotli(&bytes, &with_an_end(&bytes, &dictionary), 11).unwrap(), &dictionary, 9),
        Some(bytes.into())
    );
    // The same with a file that contains every byte, and continues its dictionary.
    let every: Vec<u8> = (0..=u8::MAX).cycle().take(5_000).collect();
    for quality in QUALITIES {
        for cut in [1, 2, 100, 2_500] {
            let dictionary = [&noise(1, 100), &every[..cut]].concat();
            let delta = made(&every, &dictionary, DeltaForm::Dcb, quality);
            assert_eq!(decoded(&delta, &dictionary, DeltaForm::Dcb, 5_000), Some(every.clone()), "{quality:?} {cut}");
        }
    }
}

#[test]
fn what_no_window_holds_has_no_delta() {
    let (file, most) = (noise(2, 1_000), DCB_BYTES_MAX - 1_000);
    let mut dictionary = vec![b' '; most];
    dictionary[5_000..6_000].copy_from_slice(&file);
    let delta = made(&file, &dictionary, DeltaForm::Dcb, Quality::Quick);
    assert!(delta.len() < 100, "{}", delta.len());
    dictionary.push(b' ');
    let encode = |form, dictionary: &[u8]| encode(&file, dictionary, sha256(dictionary), form, Quality::Quick);
    assert_eq!(encode(DeltaForm::Dcb, &dictionary), None);
    assert!(encode(DeltaForm::Dcz, &dictionary).unwrap().len() < 100);
    assert_eq!(encode(DeltaForm::Dcz, &vec![0; DCZ_BYTES_MAX]), None);
}

#[test]
fn the_window_of_a_dcz_is_one_that_every_client_has() {
    let mib = 1024 * 1024;
    assert_eq!(dcz_window_max(0), 8 * mib);
    assert_eq!(dcz_window_max(8 * 1024 * 1024), 10 * mib);
    assert_eq!(dcz_window_max(usize::MAX), 128 * mib);
    let large = noise(3, 9 * 1024 * 1024);
    // A dictionary for which the whole file fits into the window, and one for which it does not.
    let most_of_it = large[..8 * 1024 * 1024].to_vec();
    for (dictionary, window, most) in [(&most_of_it[..], 9 * mib, 2 * mib), (&noise(4, 100_000), 8 * mib, 10 * mib)] {
        let delta = made(&large, dictionary, DeltaForm::Dcz, Quality::Quick);
        assert_eq!(window_of(&delta[40..]), Some(window));
        assert!((delta.len() as u64) < most, "{}", delta.len());
    }
    // The same frame exceeds the window of a client with a smaller dictionary.
    let stream = zstandard(&large, &most_of_it, 3).unwrap();
    assert_eq!(unzstandard(&stream, &most_of_it[..7_000_000], large.len()), None);
}

#[test]
fn what_is_cut_or_longer_or_of_another_dictionary_decodes_to_nothing() {
    let (old, new) = (script(1), script(2));
    let other = sha256(b"another");
    for form in DeltaForm::ALL {
        let delta = made(&new, &old, form, Quality::Quick);
        assert_eq!(decoded(&delta, &old, form, new.len()), Some(new.clone()));
        assert_eq!(decoded(&delta, &old, form, new.len() - 1), None, "{form:?}: a bomb");
        assert_eq!(decode(&delta, &old, other, form, new.len()), None);
        assert_eq!(decoded(&delta, &script(3), form, new.len()), None);
        assert_eq!(decoded(&[&delta[..], b"x"].concat(), &old, form, new.len()), None);
        for cut in (0..delta.len()).step_by(7) {
            assert_eq!(decoded(&delta[..cut], &old, form, new.len()), None, "{form:?} {cut}");
        }
        let another = DeltaForm::ALL.into_iter().find(|another| *another != form).unwrap();
        assert_eq!(decoded(&delta, &old, another, new.len()), None);
    }
}

/// Runs a third-party program, required in CI.
fn run(command: &mut Command) -> Option<Vec<u8>> {
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            let is_set = |name| std::env::var_os(name).is_some_and(|value| value == "true" || value == "1");
            assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{command:?}: {error}");
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    durable::write_file(&folder.join(name), bytes, durable::FILE_MODE).unwrap();
}

#[test]
fn the_zstd_of_others_decodes_a_dcz() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (script(1), script(2));
    write(folder.path(), "old", &old);
    for quality in QUALITIES {
        write(folder.path(), "new.dcz", &made(&new, &old, DeltaForm::Dcz, quality));
        let mut zstd = Command::new("zstd");
        zstd.current_dir(folder.path()).args(["-q", "-d", "-c", "--patch-from=old", "new.dcz"]);
        let Some(decoded) = run(&mut zstd) else { return };
        assert!(decoded == new, "{quality:?}");
    }
}

/// No installed Brotli decoder supports dictionaries. But a stream with the dictionary in uncompressed blocks, followed
/// by the delta, is an ordinary stream with the same distances. Two zeros precede the delta, since for a client with a
/// dictionary no byte precedes the file.
#[test]
fn the_brotli_of_others_decodes_a_dcb_with_its_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = ([&script(1)[..], &[0, 0]].concat(), script(2));
    for quality in QUALITIES {
        let delta = made(&new, &old, DeltaForm::Dcb, quality);
        write(folder.path(), "told.br", &with_dictionary(&delta[36..], &old));
        let mut brotli = Command::new("brotli");
        let Some(decoded) = run(brotli.current_dir(folder.path()).args(["-d", "-c", "told.br"])) else { return };
        assert!(decoded == [&old[..], &new].concat(), "{quality:?}");
    }
}

/// Prepends `dictionary` to `stream` (RFC 7932 §9.1 and §9.2).
fn with_dictionary(stream: &[u8], dictionary: &[u8]) -> Vec<u8> {
    let bits = |bytes: &[u8]| -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |at| byte >> at & 1 == 1)).collect()
    };
    let stream = bits(stream);
    let header = match (stream[0], &stream[1..4]) {
        (false, _) => 1,
        (true, [false, false, false]) => 7,
        (true, _) => 4,
    };
    let mut out = stream[..header].to_vec();
    for block in dictionary.chunks(1 << 16) {
        // Not the last; four nibbles of length; uncompressed; then up to the next whole byte.
        let length = u16::try_from(block.len() - 1).unwrap();
        out.extend([false, false, false]);
        out.extend((0..16).map(|at| length >> at & 1 == 1));
        out.push(true);
        out.resize(out.len().next_multiple_of(8), false);
        out.extend(bits(block));
    }
    out.extend(&stream[header..]);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    out.chunks(8).map(byte).collect()
}

/// Pairs of text and dictionary: unrelated, near copies, nested, continued.
fn texts() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let text = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..3_000),
            proptest::collection::vec(0_u8..3, 0..3_000),
            proptest::collection::vec(0_u8..3, 0..20),
            (proptest::collection::vec(any::<u8>(), 1..40), 1_usize..100)
                .prop_map(|(piece, times)| piece.repeat(times)),
        ]
    };
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6);
    (text(), text(), 0..6, changes, any::<proptest::sample::Index>()).prop_map(|(file, other, kind, changes, at)| {
        let cut = at.index(file.len() + 1);
        let (mut file, dictionary) = match kind {
            0 => (file.clone(), file),
            1 => (file.clone(), [&other, &file[..cut]].concat()),
            2 => ([&file[cut..], &file[cut..], &other].concat(), file),
            3 => ([&other, &file[cut..]].concat(), file),
            _ => (file, other),
        };
        if !file.is_empty() && kind != 1 {
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
        }
        (file, dictionary)
    })
}

proptest! {
    #[test]
    fn decoding_undoes_encoding_whatever_the_two_texts_are((file, dictionary) in texts()) {
        for form in DeltaForm::ALL {
            for quality in QUALITIES {
                let delta = made(&file, &dictionary, form, quality);
                prop_assert_eq!(decoded(&delta, &dictionary, form, file.len()), Some(file.clone()));
            }
        }
    }

    #[test]
    fn a_flipped_bit_names_another_dictionary_or_gives_no_more_than_was_requested(
        (file, dictionary) in texts(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
    ) {
        for (form, header) in [(DeltaForm::Dcb, 36), (DeltaForm::Dcz, 40)] {
            let mut delta = made(&file, &dictionary, form, Quality::Quick);
            let at = at.index(delta.len());
            delta[at] ^= 1 << bit;
            let other = decoded(&delta, &dictionary, form, file.len());
            prop_assert!(other.is_none_or(|other| at >= header && other.len() <= file.len()));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..500), dictionary in "[ab]{0,30}") {
        let dictionary = dictionary.as_bytes();
        for form in DeltaForm::ALL {
            let named = [form.magic(), sha256(dictionary).as_bytes(), &bytes].concat();
            let frame = [form.magic(), sha256(dictionary).as_bytes(), ZSTD_MAGIC, &bytes].concat();
            for delta in [&bytes, &named, &frame] {
                let result = decoded(delta, dictionary, form, 1_000);
                prop_assert!(result.is_none_or(|decoded| decoded.len() <= 1_000));
            }
        }
    }
}
