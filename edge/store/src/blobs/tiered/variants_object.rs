//! The object of a bucket that holds variants of one blob: a line of the format, a line for each variant, an empty
//! line, and the bytes of the variants in the order of their lines.
//!
//! ```text
//! devanture-variants 1
//! br 412 9c1f… quick
//! gz 9001 07aa… quick
//!
//! …412 bytes……9001 bytes…
//! ```

use bytes::Bytes;
use devanture_config::Digest;

use crate::blobs::{Form, Quality, VariantInfo};

/// The first line. A different number is a format that this program cannot read.
const FIRST_LINE: &str = "devanture-variants 1\n";
/// Upper bound of the length of the head: the first line, and a line for each form.
const HEAD_BYTES_MAX: usize = 1_024;

/// The word of a quality, as in the index of a data folder.
const fn word(quality: Quality) -> &'static str {
    match quality {
        Quality::Best => "best",
        Quality::Given => "given",
        Quality::Quick => "quick",
    }
}

/// Returns the head of an object with these variants, in the order of their forms.
#[must_use]
pub fn head(variants: &[VariantInfo]) -> String {
    let mut text = FIRST_LINE.to_owned();
    for VariantInfo { form, size, hash, quality } in variants {
        text.push_str(&format!("{} {size} {hash} {}\n", form.suffix(), word(*quality)));
    }
    text.push('\n');
    text
}

/// Parses an object. `None` if the object is invalid or not whole; the caller checks the hashes of the bytes.
#[must_use]
pub fn parse(object: &Bytes) -> Option<Vec<(VariantInfo, Bytes)>> {
    let start = object.get(..HEAD_BYTES_MAX.min(object.len()))?;
    let head_bytes = start.windows(2).position(|pair| pair == b"\n\n")?.checked_add(2)?;
    let text = std::str::from_utf8(start.get(..head_bytes)?).ok()?;
    let lines = text.strip_prefix(FIRST_LINE)?.strip_suffix('\n')?;
    let (mut variants, mut at) = (Vec::<(VariantInfo, Bytes)>::new(), head_bytes);
    for line in lines.split_inclusive('\n') {
        let info = parse_line(line.strip_suffix('\n')?)?;
        // A fixed order, so that equal variants are equal objects.
        if variants.last().is_some_and(|(last, _)| last.form >= info.form) {
            return None;
        }
        let end = at.checked_add(usize::try_from(info.size).ok()?).filter(|end| *end <= object.len())?;
        variants.push((info, object.slice(at..end)));
        at = end;
    }
    (at == object.len()).then_some(variants)
}

fn parse_line(line: &str) -> Option<VariantInfo> {
    let mut words = line.split(' ');
    let (form, size, hash, quality) = (words.next()?, words.next()?, words.next()?, words.next()?);
    // A number has exactly one spelling.
    let is_number = size == "0" || (!size.starts_with('0') && size.bytes().all(|byte| byte.is_ascii_digit()));
    if words.next().is_some() || !is_number {
        return None;
    }
    let info = VariantInfo {
        form: Form::STORED.into_iter().find(|known| known.suffix() == form)?,
        size: size.parse().ok()?,
        hash: hash.parse::<Digest>().ok()?,
        quality: [Quality::Best, Quality::Given, Quality::Quick].into_iter().find(|known| word(*known) == quality)?,
    };
    // Digests are in lower case.
    (info.hash.to_string() == hash).then_some(info)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(form: Form, bytes: &[u8], quality: Quality) -> VariantInfo {
        VariantInfo { form, size: bytes.len() as u64, hash: Digest::of(bytes), quality }
    }

    fn object(variants: &[(VariantInfo, Bytes)]) -> Bytes {
        let infos: Vec<VariantInfo> = variants.iter().map(|(info, _)| *info).collect();
        let mut bytes = head(&infos).into_bytes();
        variants.iter().for_each(|(_, content)| bytes.extend_from_slice(content));
        bytes.into()
    }

    #[test]
    fn the_format_is_fixed() {
        let (br, zst) = (Bytes::from_static(b"\n\nfirst"), Bytes::from_static(b""));
        let variants = [(info(Form::Br, &br, Quality::Quick), br), (info(Form::Zst, &zst, Quality::Given), zst)];
        let expected = format!(
            "devanture-variants 1\nbr 7 {} quick\nzst 0 {} given\n\n\n\nfirst",
            variants[0].0.hash, variants[1].0.hash
        );
        assert_eq!(object(&variants), expected.as_bytes());
        assert_eq!(parse(&object(&variants)).unwrap(), variants);
        assert_eq!(parse(&object(&[])), Some(Vec::new()), "none are worth keeping");
    }

    #[test]
    fn what_is_no_such_object_is_refused() {
        let bytes = Bytes::from_static(b"x");
        let whole = object(&[
            (info(Form::Br, &bytes, Quality::Quick), bytes.clone()),
            (info(Form::Gz, &bytes, Quality::Best), bytes),
        ]);
        let text = std::str::from_utf8(&whole).unwrap();
        assert!(parse(&whole).is_some());
        let gz_line = text.lines().nth(2).unwrap();
        for bad in [
            &text[..text.len() - 1],
            &format!("{text}x"),
            &text.replace("variants 1", "variants 2"),
            &text.replace("br 1", "br 01"),
            &text.replace("br 1", "br +1"),
            &text.replace("br 1", "br 18446744073709551616"),
            &text.replace("br 1", "br  1"),
            &text.replace("br 1", "dcb 1"),
            &text.replace("br 1", "zst 1"),
            &text.replace("quick", "slow"),
            &text.replace("quick", "quick here"),
            &text.replace(gz_line, &gz_line.to_uppercase()),
            &text.replace("\n\n", "\n"),
            "",
            "\n\n",
            "devanture-variants 1\n",
        ] {
            assert_eq!(parse(&Bytes::copy_from_slice(bad.as_bytes())), None, "{bad:?}");
        }
    }

    #[test]
    fn an_object_has_one_variant_of_each_form_in_their_order() {
        let bytes = Bytes::from_static(b"x");
        let of = |form| (info(form, &bytes, Quality::Quick), bytes.clone());
        assert!(parse(&object(&[of(Form::Br), of(Form::Gz)])).is_some());
        for forms in [[Form::Br, Form::Br], [Form::Gz, Form::Br]] {
            assert_eq!(parse(&object(&forms.map(of))), None, "{forms:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(contents in proptest::collection::vec(any::<Option<Vec<u8>>>(), 3), quality in 0..3_usize) {
            let quality = [Quality::Quick, Quality::Best, Quality::Given][quality];
            let variants: Vec<(VariantInfo, Bytes)> = Form::STORED
                .into_iter()
                .zip(contents)
                .filter_map(|(form, content)| content.map(|content| (info(form, &content, quality), content.into())))
                .collect();
            prop_assert_eq!(parse(&object(&variants)), Some(variants));
        }

        #[test]
        fn no_bytes_are_too_strange_and_what_is_read_is_written_alike(bytes: Vec<u8>, text in "\\PC*") {
            for bytes in [Bytes::from(bytes), text.into(), format!("{FIRST_LINE}br 1 ").into()] {
                if let Some(variants) = parse(&bytes) {
                    prop_assert_eq!(object(&variants), bytes);
                }
            }
        }
    }
}
