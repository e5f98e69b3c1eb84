//! The file with the list of the variants of one blob: a line for each, `br 1234 <BLAKE3> quick`.
//!
//! A small variant has no separate file: the line ends with ` here`, and the bytes follow the lines and an empty line,
//! in the order of the lines.

use std::collections::BTreeMap;

use devanture_config::Digest;

use crate::blobs::{Form, Quality, VariantInfo};

/// Upper bound of the length of the text: one line for each form, with room for larger numbers.
pub(super) const TEXT_BYTES_MAX: u64 = 1_024;
/// Upper bound of the length of a variant without a file of its own. A file costs a block of the disk, an inode and a
/// sync, which is more than the bytes of most small files.
pub(super) const HERE_BYTES_MAX: u64 = 8_192;

/// The last word of a line for a variant without a file of its own.
const HERE: &str = "here";

/// A line of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) info: VariantInfo,
    /// The offset of the bytes in the file of the index; `None` if the variant has a file of its own.
    pub(super) at: Option<u32>,
}

/// The lines of an index.
pub(super) type Lines = BTreeMap<Form, Line>;

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

/// Returns true if a variant of `size` bytes is stored in the index.
pub(super) const fn is_here(size: u64) -> bool {
    size <= HERE_BYTES_MAX
}

/// Returns the bytes of an index; `here` returns the bytes of each variant without a file of its own, in the order of
/// the lines.
pub(super) fn to_bytes<'v>(lines: &Lines, here: impl Fn(Form) -> Option<&'v [u8]>) -> Vec<u8> {
    let (mut text, mut content) = (String::new(), Vec::new());
    for Line { info, .. } in lines.values() {
        let VariantInfo { form, size, hash, quality } = info;
        let bytes = here(*form);
        let end = if bytes.is_some() { format!(" {HERE}") } else { String::new() };
        text.push_str(&format!("{} {size} {hash} {}{end}\n", form.suffix(), word(*quality)));
        content.extend(bytes);
    }
    if content.is_empty() {
        return text.into_bytes();
    }
    text.push('\n');
    [text.as_bytes(), &content.concat()].concat()
}

/// Parses an index of `length` bytes, of which `head` are the first; `None` if the bytes are not an index.
pub(super) fn parse(head: &[u8], length: u64) -> Option<Lines> {
    let end = head.windows(2).position(|pair| pair == b"\n\n");
    // Without content the whole file is text.
    let text = match end {
        Some(end) => head.get(..=end)?,
        None => Some(head).filter(|head| head.len() as u64 == length)?,
    };
    let mut at = end.map(|end| (end as u64).saturating_add(2));
    let mut lines = BTreeMap::new();
    // A text cut off in its last line would pass for a shorter index.
    for line in std::str::from_utf8(text).ok()?.split_inclusive('\n') {
        let line = parse_line(line.strip_suffix('\n')?, &mut at)?;
        if lines.insert(line.info.form, line).is_some() {
            return None;
        }
    }
    at.is_none_or(|at| at == length).then_some(lines)
}

/// Parses a line; `at` is the offset of the bytes of the next variant without a file of its own.
fn parse_line(line: &str, at: &mut Option<u64>) -> Option<Line> {
    let mut words = line.split(' ');
    let (form, size, hash, quality_word) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_here = match words.next() {
        None => false,
        Some(HERE) => true,
        Some(_) => return None,
    };
    if words.next().is_some() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let info = VariantInfo {
        form: Form::STORED.into_iter().find(|known| known.suffix() == form)?,
        size: size.parse().ok()?,
        hash: hash.parse::<Digest>().ok()?,
        quality: quality(quality_word)?,
    };
    if !is_here {
        return Some(Line { info, at: None });
    }
    let begin = (*at)?;
    *at = Some(begin.checked_add(info.size)?);
    // This program writes no index of that length.
    let begin = u32::try_from(begin).ok()?;
    Some(Line { info, at: Some(begin) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info() -> impl Strategy<Value = VariantInfo> {
        let form = proptest::sample::select(Form::STORED.to_vec());
        let quality = proptest::sample::select(vec![Quality::Quick, Quality::Best, Quality::Given]);
        (form, any::<u64>(), any::<[u8; 4]>(), quality).prop_map(|(form, size, seed, quality)| VariantInfo {
            form,
            size,
            hash: Digest::of(&seed),
            quality,
        })
    }

    fn line(form: Form, size: u64, quality: Quality, at: Option<u32>) -> (Form, Line) {
        (form, Line { info: VariantInfo { form, size, hash: Digest::of(b""), quality }, at })
    }

    #[test]
    fn the_text_is_fixed() {
        const HASH: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        let alone = Lines::from([line(Form::Br, 1_234, Quality::Quick, None)]);
        assert_eq!(to_bytes(&alone, |_| None), format!("br 1234 {HASH} quick\n").into_bytes());
        let mixed = Lines::from([
            line(Form::Br, 5, Quality::Best, Some(242)),
            line(Form::Gz, 9_000, Quality::Quick, None),
            line(Form::Zst, 3, Quality::Quick, Some(247)),
        ]);
        let here = |form| match form {
            Form::Br => Some(&b"first"[..]),
            Form::Zst => Some(&b"\n\n3"[..]),
            _ => None,
        };
        let bytes = to_bytes(&mixed, here);
        let expected = format!("br 5 {HASH} best here\ngz 9000 {HASH} quick\nzst 3 {HASH} quick here\n\nfirst\n\n3");
        assert_eq!(bytes, expected.into_bytes());
        assert_eq!(parse(&bytes, bytes.len() as u64), Some(mixed));
        assert_eq!(parse(&bytes[..bytes.len() - 1], bytes.len() as u64 - 1), None);
        assert_eq!(parse(&bytes, bytes.len() as u64 + 1), None);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let line = format!("br 1 {} quick\n", Digest::of(b""));
        let here = format!("br 1 {} quick here\n\nx", Digest::of(b""));
        let parse = |text: &str| parse(text.as_bytes(), text.len() as u64);
        assert!(parse(&line).is_some() && parse(&here).is_some());
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
            &line.replace(" quick", " quick here"),
            &line.to_uppercase(),
            &here.replace("here", "here x"),
            &here.replace(" 1 ", " 18446744073709551615 "),
            &here[..here.len() - 1],
            &here.repeat(2),
            "\n",
            "\n\n",
            "\0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(infos in proptest::collection::vec((info(), any::<bool>()), 0..6), seed: u8) {
            let content = [seed; 40];
            let mut lines = Lines::new();
            for (info, is_here) in infos {
                // Only variants in the index have a bounded length.
                let info = if is_here { VariantInfo { size: info.size % 40, ..info } } else { info };
                lines.insert(info.form, Line { info, at: is_here.then_some(0) });
            }
            let here = |form| {
                let line: &Line = lines.get(&form)?;
                line.at.map(|_| &content[..usize::try_from(line.info.size).unwrap()])
            };
            let bytes = to_bytes(&lines, here);
            let head = &bytes[..bytes.len().min(usize::try_from(TEXT_BYTES_MAX).unwrap())];
            let found = parse(head, bytes.len() as u64).unwrap();
            prop_assert_eq!(found.len(), lines.len());
            for (form, line) in &found {
                prop_assert_eq!(line.info, lines[form].info);
                prop_assert_eq!(line.at.is_some(), lines[form].at.is_some());
                if let Some(at) = line.at {
                    let at = usize::try_from(at).unwrap();
                    prop_assert_eq!(Some(&bytes[at..][..usize::try_from(line.info.size).unwrap()]), here(*form));
                }
            }
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, text in "\\PC*") {
            for bytes in [&bytes[..], text.as_bytes()] {
                for line in parse(bytes, bytes.len() as u64).unwrap_or_default().values() {
                    prop_assert!(line.at.is_none_or(|at| u64::from(at) + line.info.size <= bytes.len() as u64));
                }
            }
        }
    }
}
