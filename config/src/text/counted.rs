//! Counts of things in the messages of both programs: `1 file`, `2 files`.

use std::fmt::Display;

/// Returns a count in words; `thing` is the singular noun.
#[must_use]
pub fn counted(count: impl Display, thing: &str) -> String {
    let text = count.to_string();
    if text == "1" {
        return format!("1 {thing}");
    }
    let is_vowel = |letter: char| "aeiou".contains(letter);
    match thing.strip_suffix('y') {
        Some(stem) if !stem.ends_with(is_vowel) => format!("{text} {stem}ies"),
        _ if thing.ends_with(['s', 'x']) || thing.ends_with("ch") || thing.ends_with("sh") => {
            format!("{text} {thing}es")
        }
        _ => format!("{text} {thing}s"),
    }
}

/// Returns a time in the largest unit with a whole number.
#[must_use]
pub fn time_in_words(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let whole = units.into_iter().find(|(unit_s, _)| seconds > 0 && seconds.is_multiple_of(*unit_s));
    whole.map_or_else(|| counted(seconds, "second"), |(unit_s, unit)| counted(seconds / unit_s, unit))
}

/// Returns a number of bytes for display, in powers of a thousand, as disks and networks count.
#[must_use]
pub fn byte_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, rounded down, in whole numbers, without rounding errors of floats.
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1_000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    // Tenths of a kilobyte are omitted.
    if unit == 0 && tenths >= 100 {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_reported_as_disks_count_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (9_999, "9.9 KB"),
            (412_345, "412 KB"),
            (999_999, "999 KB"),
            (1_000_000, "1.0 MB"),
            (39_100_000, "39.1 MB"),
            (1_200_000_000, "1.2 GB"),
            (u64::MAX, "18446744.0 TB"),
        ] {
            assert_eq!(byte_text(bytes), text);
        }
    }

    #[test]
    fn a_time_is_in_its_largest_whole_unit() {
        let texts = [0, 1, 59, 60, 90, 3_600, 86_400, 7_776_000].map(time_in_words);
        let expected = ["0 seconds", "1 second", "59 seconds", "1 minute", "90 seconds", "1 hour", "1 day", "90 days"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn one_thing_is_one_and_others_have_their_plural() {
        for (count, thing, text) in [
            (0, "file", "0 files"),
            (1, "file", "1 file"),
            (2, "more file", "2 more files"),
            (1, "entry", "1 entry"),
            (3, "entry", "3 entries"),
            (2, "alias", "2 aliases"),
            (2, "day", "2 days"),
            (2, "push", "2 pushes"),
        ] {
            assert_eq!(counted(count, thing), text);
        }
    }
}
