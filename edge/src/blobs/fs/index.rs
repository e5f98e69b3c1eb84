//! The text file that says what the variants of one blob are: a line for each, `br 1234 <BLAKE3> quick`.

use std::collections::BTreeMap;

use devanture_config::Digest;

use crate::blobs::{Form, Quality, VariantInfo};

/// The length of the longest index that can be meant: one line for each form, with room for larger numbers.
pub(super) const INDEX_BYTES_MAX: u64 = 1_024;

pub(super) const fn word(quality: Quality) -> &'static str {
    match quality {
        Quality::Best => "best",
        Quality::Given => "given",
        Quality::Quick => "quick",
    }
}

pub(super) fn quality(text: &str) -> Option<Quality> {
    [Quality::Best, Quality::Given, Quality::Quick].into_iter().find(|quality| word(*quality) == text)
}

/// The text of an index.
pub(super) fn to_text(lines: &BTreeMap<Form, VariantInfo>) -> String {
    let line =
        |info: &VariantInfo| format!("{} {} {} {}\n", info.form.suffix(), info.size, info.hash, word(info.quality));
    lines.values().map(line).collect()
}

/// Reads an index; `None` where the text is none.
pub(super) fn parse(text: &str) -> Option<BTreeMap<Form, VariantInfo>> {
    let mut lines = BTreeMap::new();
    // A text cut off in its last line would pass for a shorter index.
    for line in text.split_inclusive('\n') {
        let info = parse_line(line.strip_suffix('\n')?)?;
        if lines.insert(info.form, info).is_some() {
            return None;
        }
    }
    Some(lines)
}

fn parse_line(line: &str) -> Option<VariantInfo> {
    let mut words = line.split(' ');
    let (form, size, hash, quality_word) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(VariantInfo {
        form: Form::ALL.into_iter().find(|known| known.suffix() == form)?,
        size: size.parse().ok()?,
        hash: hash.parse::<Digest>().ok()?,
        quality: quality(quality_word)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info() -> impl Strategy<Value = VariantInfo> {
        let form = proptest::sample::select(Form::ALL.to_vec());
        let quality = proptest::sample::select(vec![Quality::Quick, Quality::Best, Quality::Given]);
        (form, any::<u64>(), any::<[u8; 4]>(), quality).prop_map(|(form, size, seed, quality)| VariantInfo {
            form,
            size,
            hash: Digest::of(&seed),
            quality,
        })
    }

    #[test]
    fn the_text_is_fixed() {
        let info = VariantInfo { form: Form::Br, size: 1_234, hash: Digest::of(b""), quality: Quality::Quick };
        let text = to_text(&BTreeMap::from([(Form::Br, info)]));
        assert_eq!(text, "br 1234 af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 quick\n");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let line = format!("br 1 {} quick\n", Digest::of(b""));
        assert!(parse(&line).is_some());
        for text in [
            line.trim_end(),
            &line.repeat(2),
            &line.replace("br", "dcb"),
            &line.replace("quick", "slow"),
            &line.replace(" 1 ", " +1 "),
            &line.replace(" 1 ", " -1 "),
            &line.replace(" 1 ", "  1 "),
            &line.replace(" 1 ", " 18446744073709551616 "),
            &line.replace(" quick", " quick x"),
            &line.to_uppercase(),
            "\n",
            "\0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(infos in proptest::collection::vec(info(), 0..6)) {
            let lines: BTreeMap<Form, VariantInfo> = infos.into_iter().map(|info| (info.form, info)).collect();
            let text = to_text(&lines);
            prop_assert!(text.len() as u64 <= INDEX_BYTES_MAX);
            prop_assert_eq!(parse(&text), Some(lines));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*") {
            if let Some(lines) = parse(&text) {
                prop_assert_eq!(to_text(&lines).len() <= text.len(), true);
            }
        }
    }
}
