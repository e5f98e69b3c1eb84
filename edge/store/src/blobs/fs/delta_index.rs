//! The text file with the list of the deltas of one blob: a line for each, in the order of the puts,
//! `dcb <BLAKE3 of the dictionary> <SHA-256 of the dictionary> 1234 <BLAKE3> quick`.

use std::collections::BTreeSet;

use devanture_config::{Digest, Sha256};

use super::index::{quality, word};
use crate::blobs::{DELTA_DICTIONARIES_MAX, DeltaForm, DeltaInfo};

/// Upper bound of the length of an index: a line of each form for each dictionary.
pub(super) const INDEX_BYTES_MAX: u64 = 8_192;

/// The text of an index.
pub(super) fn to_text(lines: &[DeltaInfo]) -> String {
    let line = |info: &DeltaInfo| {
        let DeltaInfo { form, dictionary, sha256, size, hash, quality } = info;
        format!("{} {dictionary} {sha256} {size} {hash} {}\n", form.suffix(), word(*quality))
    };
    lines.iter().map(line).collect()
}

/// Parses an index; `None` if the text is not an index.
pub(super) fn parse(text: &str) -> Option<Vec<DeltaInfo>> {
    let (mut lines, mut names, mut dictionaries) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    // A text cut off in its last line would pass for a shorter index.
    for line in text.split_inclusive('\n') {
        let info = parse_line(line.strip_suffix('\n')?)?;
        dictionaries.insert(info.dictionary);
        if !names.insert((info.dictionary, info.form)) || dictionaries.len() > DELTA_DICTIONARIES_MAX {
            return None;
        }
        lines.push(info);
    }
    Some(lines)
}

fn parse_line(line: &str) -> Option<DeltaInfo> {
    let words: Vec<&str> = line.split(' ').collect();
    let [form, dictionary, sha256, size, hash, quality_word] = words[..] else { return None };
    if !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(DeltaInfo {
        form: DeltaForm::ALL.into_iter().find(|known| known.suffix() == form)?,
        dictionary: dictionary.parse().ok()?,
        sha256: sha256.parse::<Sha256>().ok()?,
        size: size.parse().ok()?,
        hash: hash.parse::<Digest>().ok()?,
        quality: quality(quality_word)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blobs::Quality;

    fn info() -> impl Strategy<Value = DeltaInfo> {
        let form = proptest::sample::select(DeltaForm::ALL.to_vec());
        let quality = proptest::sample::select(vec![Quality::Quick, Quality::Best]);
        (form, 0_u8..20, any::<[u8; 32]>(), any::<u64>(), quality).prop_map(
            |(form, dictionary, seed, size, quality)| DeltaInfo {
                form,
                dictionary: Digest::of(&[dictionary]),
                sha256: Sha256::from(seed),
                size,
                hash: Digest::of(&seed),
                quality,
            },
        )
    }

    #[test]
    fn the_text_is_fixed() {
        let info = DeltaInfo {
            form: DeltaForm::Dcb,
            dictionary: Digest::of(b"hello\n"),
            sha256: Sha256::from([0xab; 32]),
            size: 1_234,
            hash: Digest::of(b""),
            quality: Quality::Quick,
        };
        let expected = [
            "dcb 8e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99",
            &"ab".repeat(32),
            "1234 af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 quick\n",
        ];
        assert_eq!(to_text(&[info]), expected.join(" "));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let line = format!("dcb {} {} 1 {} quick\n", Digest::of(b"a"), "ab".repeat(32), Digest::of(b""));
        assert!(parse(&line).is_some());
        for text in [
            line.trim_end(),
            &line.repeat(2),
            &line.replace("dcb", "br"),
            &line.replace("quick", "slow"),
            &line.replace(" 1 ", " +1 "),
            &line.replace(" 1 ", " -1 "),
            &line.replace(" 1 ", "  1 "),
            &line.replace(" 1 ", " 18446744073709551616 "),
            &line.replace(" quick", " quick x"),
            &line.replace("abab", "ABAB"),
            &line.to_uppercase(),
            "\n",
            "\0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_index_lists_more_dictionaries_than_a_blob_has() {
        let line = |form: DeltaForm, dictionary: usize| DeltaInfo {
            form,
            dictionary: Digest::of(&dictionary.to_le_bytes()),
            sha256: Sha256::from([0; 32]),
            size: u64::MAX,
            hash: Digest::of(b""),
            quality: Quality::Quick,
        };
        let all = |dictionaries: usize| -> String {
            let both = |dictionary| DeltaForm::ALL.into_iter().map(move |form| line(form, dictionary));
            to_text(&(0..dictionaries).flat_map(both).collect::<Vec<_>>())
        };
        let most = all(DELTA_DICTIONARIES_MAX);
        assert!(most.len() as u64 <= INDEX_BYTES_MAX && parse(&most).is_some());
        assert_eq!(parse(&all(DELTA_DICTIONARIES_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(infos in proptest::collection::vec(info(), 0..30)) {
            let mut lines: Vec<DeltaInfo> = Vec::new();
            for info in infos {
                if lines.iter().all(|known| (known.dictionary, known.form) != (info.dictionary, info.form)) {
                    lines.push(info);
                }
            }
            let dictionaries: BTreeSet<_> = lines.iter().map(|info| info.dictionary).collect();
            let expected = (dictionaries.len() <= DELTA_DICTIONARIES_MAX).then_some(lines.clone());
            prop_assert_eq!(parse(&to_text(&lines)), expected);
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*") {
            if let Some(lines) = parse(&text) {
                prop_assert_eq!(to_text(&lines).len() <= text.len(), true);
            }
        }
    }
}
