//! Recognises file names with a hash of the content, so that different content would have a different name.
//!
//! A name counts only if the name has the form of a generator **and** its token looks like a hash: at least
//! [`TOKEN_CHARS_MIN`] characters with a digit, or with mixed case beyond the first letter, and neither a date, nor a
//! size, nor words. The two errors differ in cost: a missed hash costs an occasional request, while a word mistaken for
//! a hash leaves browsers with an old file for a year. So in doubt a name has no hash.

/// Minimum characters of a token.
pub const TOKEN_CHARS_MIN: usize = 8;
/// The default length of Vite, Rollup, esbuild and similar tools.
const TOKEN_CHARS_USUAL: usize = 8;
/// Characters of a base36 token: of Rollup, when configured so, and of Blazor.
const BASE36_CHARS: [usize; 2] = [TOKEN_CHARS_USUAL, 10];
/// Maximum characters of a token: a SHA-512 in hex.
const TOKEN_CHARS_MAX: usize = 128;
/// Minimum hex characters of a name that consists of a token alone, outside a generator's folders.
const BARE_HEX_CHARS_MIN: usize = 12;

/// The length of Turbopack's tokens: digits, small letters, `-` and `_`, beginning with one of `0` to `4`.
const TURBOPACK_CHARS: usize = 13;
/// Characters of a UUID, which identifies a file but not its content.
const UUID_CHARS: usize = 36;

/// Folders that a generator fills with hashed names alone.
const GENERATED_FOLDERS: &[&str] =
    &["_app/immutable/", "_astro/", "_next/static/chunks/", "_next/static/css/", "_next/static/media/", "_nuxt/"];
/// The folders with `name.TOKEN` for a name and a hash always: even a token that reads as words counts.
const NAMED_FOLDERS: &[&str] = &["_app/immutable/", "_astro/", "_nuxt/"];
/// The folders of generators whose hash cannot be turned off.
const FIXED_FOLDERS: &[&str] = &["_app/immutable/"];
/// Output folders of Turbopack. The folder `_next/static/BUILD/` has other names: `BUILD` may be the same in two
/// builds.
const TURBOPACK_FOLDERS: &[&str] = &["_next/static/chunks/", "_next/static/media/"];
/// Nuxt names these files after the build, and two builds of one commit write different times into the files.
const NEVER_FOLDERS: &[&str] = &["_nuxt/builds/"];

/// Endings of files whose bytes may change while the name's hash stays: pages, and files derived from another file.
const NEVER: &[&str] = &["br", "gz", "htm", "html", "map", "shtml", "txt", "xht", "xhtml", "zst"];

/// Endings of code, which only programs number.
const CODE: &[&str] = &["css", "js", "mjs", "wasm"];
/// Endings of files that people write and number themselves: `LM317T12.pdf`.
const DOCUMENTS: &[&str] = &[
    "csv", "doc", "docx", "epub", "odp", "ods", "odt", "pdf", "ppt", "pptx", "rtf", "tsv", "xls", "xlsx", "xml", "zip",
];

/// Text between a token and the ending; `-s` and `.p` belong to Next's fonts, `.lean` to VitePress, `_bg` to
/// wasm-bindgen.
const AFTER_TOKEN: &[&str] =
    &["-s", ".async", ".bundle", ".chunk", ".entry", ".esm", ".lean", ".min", ".module", ".p", ".worker", "_bg"];

/// The ending of a file's name in lower case, without its dot; `None` for a name whose only dot is the first character.
#[must_use]
pub fn extension(path: &str) -> Option<String> {
    ending(path).map(str::to_ascii_lowercase)
}

/// The [`extension`] in its own case.
fn ending(path: &str) -> Option<&str> {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let (name, ending) = file_name.rsplit_once('.')?;
    (!name.is_empty() && !ending.is_empty()).then_some(ending)
}

/// Returns true if an ending, in any case, is in the list.
fn is_one_of(endings: &[&str], ending: &str) -> bool {
    endings.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// Returns true if the file at `path` has a fingerprinted name; the file's name alone suffices, but its folders help.
#[must_use]
pub fn is_fingerprinted(path: &str) -> bool {
    pattern(path).is_some()
}

/// The parts of a fingerprinted path before and after the token, constant while the content changes.
#[must_use]
pub fn pattern(path: &str) -> Option<(&str, &str)> {
    let ending = ending(path)?;
    if is_one_of(NEVER, ending) {
        return None;
    }
    let folder_bytes = path.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, file_name) = path.split_at_checked(folder_bytes)?;
    let stem = without_markers(file_name.rsplit_once('.')?.0);
    if is_below(folder, NEVER_FOLDERS) || ends_in_uuid(stem) {
        return None;
    }
    let (before, token) =
        turbopack_token(folder, stem).or_else(|| named_token(folder, stem)).or_else(|| bare_token(folder, stem))?;
    if may_be_a_number(ending, token) {
        return None;
    }
    let start = folder_bytes + before.len();
    Some((path.get(..start)?, path.get(start + token.len()..)?))
}

fn is_below(folder: &str, generated: &[&str]) -> bool {
    // Compared only at the start of each folder, since every path of every loaded version is checked.
    let folders = std::iter::once(0).chain(folder.match_indices('/').map(|(slash, _)| slash + 1));
    let mut rests = folders.filter_map(|start| folder.get(start..));
    rests.any(|rest| generated.iter().any(|name| rest.starts_with(name)))
}

fn without_markers(mut stem: &str) -> &str {
    while let Some(shorter) = AFTER_TOKEN.iter().find_map(|marker| stem.strip_suffix(marker)) {
        stem = shorter;
    }
    stem
}

/// `550e8400-e29b-41d4-a716-446655440000`, with or without a prefix.
fn ends_in_uuid(stem: &str) -> bool {
    let groups = stem.len().checked_sub(UUID_CHARS).and_then(|start| stem.get(start..)).map(|uuid| uuid.split('-'));
    groups.is_some_and(|groups| {
        let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        groups.clone().map(str::len).eq([8, 4, 4, 4, 12]) && groups.clone().all(is_hex)
    })
}

/// The token at the end of a Turbopack name, which may be the whole name.
fn turbopack_token<'s>(folder: &str, stem: &'s str) -> Option<(&'s str, &'s str)> {
    let (before, token) = stem.len().checked_sub(TURBOPACK_CHARS).and_then(|start| stem.split_at_checked(start))?;
    let has_form = (before.is_empty() || before.ends_with(['-', '.'])) && token.starts_with(['0', '1', '2', '3', '4']);
    let is_char = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'_');
    let is_token = has_form && token.bytes().all(is_char) && token.bytes().any(|byte| byte.is_ascii_lowercase());
    (is_token && is_below(folder, TURBOPACK_FOLDERS)).then_some((before, token))
}

/// The token at the end of `name-TOKEN` or `name.TOKEN`, with the part before.
fn named_token<'s>(folder: &str, stem: &'s str) -> Option<(&'s str, &'s str)> {
    // The usual length first, since such a token may contain a `-` itself: `shared-ChJ_j-JJ`.
    let usual = stem.len().checked_sub(TOKEN_CHARS_USUAL).and_then(|start| stem.split_at_checked(start));
    let last = stem.rfind(['-', '.']).and_then(|place| stem.split_at_checked(place + 1));
    [last, usual].into_iter().flatten().find(|(before, token)| {
        let has_name = before.len() > 1 && before.ends_with(['-', '.']);
        let is_surely_named = || before.ends_with('.') && is_below(folder, NAMED_FOLDERS);
        has_name && (is_token(token) || is_usual_token(token) && is_surely_named())
    })
}

/// A name that consists of a token alone.
fn bare_token<'s>(folder: &str, stem: &'s str) -> Option<(&'s str, &'s str)> {
    let is_long_hex = stem.len() >= BARE_HEX_CHARS_MIN && stem.bytes().all(is_lower_hex);
    let is_bare = is_token(stem) && (is_long_hex || is_below(folder, GENERATED_FOLDERS))
        || is_usual_token(stem) && is_below(folder, FIXED_FOLDERS);
    is_bare.then_some(("", stem))
}

/// Returns true if a text can be a token at all.
fn is_possible_token(token: &str) -> bool {
    (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && token.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !has_date(token)
        && !is_size(token)
}

/// Returns true if a text of the usual length can be a hash; its position must exclude every other reading.
fn is_usual_token(token: &str) -> bool {
    let has_digit = token.bytes().any(|byte| byte.is_ascii_digit());
    token.len() == TOKEN_CHARS_USUAL && is_possible_token(token) && (has_digit || is_mixed_beyond_first(token))
}

/// Returns true if a text looks like a hash written by a generator.
fn is_token(token: &str) -> bool {
    let all = |is: fn(u8) -> bool| token.bytes().all(is);
    let any = |is: fn(u8) -> bool| token.bytes().any(is);
    let has_digit = any(|byte| byte.is_ascii_digit());
    match (any(|byte| byte.is_ascii_lowercase()), any(|byte| byte.is_ascii_uppercase())) {
        _ if !is_possible_token(token) => false,
        // base64url: Vite, Rollup, Astro, SvelteKit, Nuxt. A longer token nearly always has a digit, and a longer word
        // has no digit: `VariableFont_wght`.
        (true, true) => {
            (has_digit || token.len() == TOKEN_CHARS_USUAL && is_mixed_beyond_first(token)) && !is_words(token)
        }
        // Hex, or base36: webpack, Next, Parcel, Rails, Django.
        (true, false) => has_digit && (all(is_lower_hex) || is_base36(token)),
        // Base32, or hex in upper case: esbuild, Angular, Remix.
        (false, _) => has_digit && is_upper_hash(token),
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_mixed_beyond_first(token: &str) -> bool {
    let mut rest = token.bytes().filter(u8::is_ascii_alphabetic).skip(1);
    let first = rest.next().is_some_and(|byte| byte.is_ascii_uppercase());
    rest.any(|byte| byte.is_ascii_uppercase() != first)
}

/// Letters and digits that alternate like those of a hash, unlike `version2`, `sha256sum` or `1080p60fps`.
fn is_base36(token: &str) -> bool {
    let runs: Vec<&[u8]> = token.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).collect();
    let is_number = |run: &[u8]| run.iter().all(u8::is_ascii_digit);
    // A part that is no number, no single letter such as the `x` of `x64`, and no word.
    let is_strange = |run: &[u8]| !is_number(run) && run.len() > 1 && !is_word(run, true);
    BASE36_CHARS.contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && runs.len() > 2
        && (runs.len() > 5 || runs.iter().any(|run| is_strange(run)))
        && runs.iter().all(|run| run.len() < if is_number(run) { 4 } else { 5 })
        && runs.first().is_some_and(|run| !is_number(run) || run.len() < 3)
}

/// Returns true if people may have numbered the file themselves: a type, an order, a standard; code is never numbered
/// by people.
fn may_be_a_number(ending: &str, token: &str) -> bool {
    let has = |is: fn(&u8) -> bool| token.as_bytes().iter().any(is);
    let (has_small, has_capital) = (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase));
    let is_hex = token.bytes().all(is_lower_hex);
    if is_one_of(DOCUMENTS, ending) {
        return has_small != has_capital && !is_hex;
    }
    !is_one_of(CODE, ending) && !has_small && has(|byte| matches!(byte, b'-' | b'_'))
}

fn is_upper_hash(token: &str) -> bool {
    let is_base32 = token.len() == TOKEN_CHARS_USUAL && token.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    let is_hex = token.bytes().all(|b| matches!(b, b'A'..=b'F' | b'0'..=b'9'));
    // base64url without a small letter by chance: digits stand among the letters, not behind them.
    let runs = token.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).count();
    let is_base64 = token.len() == TOKEN_CHARS_USUAL && runs > 2;
    // A camera's or a document's number: letters, and then digits alone.
    let letters = token.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_number = token.len() - letters.len() > 2 && !letters.bytes().any(|byte| byte.is_ascii_digit());
    (is_base32 || is_hex || is_base64) && !is_number
}

/// Returns true if a run of digits is a day, `20240115`, or a second, `20240115093000`.
fn has_date(token: &str) -> bool {
    token.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).any(|run| {
        let number = |from: usize, to: usize| -> Option<u32> { str::from_utf8(run.get(from..to)?).ok()?.parse().ok() };
        matches!(run.len(), 8 | 12 | 14)
            && number(0, 4).is_some_and(|year| (1970..2100).contains(&year))
            && number(4, 6).is_some_and(|month| (1..=12).contains(&month))
            && number(6, 8).is_some_and(|day| (1..=31).contains(&day))
    })
}

/// `1200x630`
fn is_size(token: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    token.split_once(['x', 'X']).is_some_and(|(width, height)| is_number(width) && is_number(height))
}

/// Words that people join in names and that the rules of [`is_word`] would not recognise.
const WORDS: &[&str] = &[
    "api", "app", "bg", "btn", "bx", "cb", "cfg", "cjk", "cmd", "css", "ctrl", "ctx", "db", "dlg", "dns", "dpi",
    "extra", "fn", "fps", "fx", "gl", "gpt", "hd", "hq", "html", "http", "https", "id", "img", "jp", "jpg", "js",
    "json", "jwt", "lg", "light", "lt", "md", "mgr", "mp", "msg", "mysql", "pdf", "php", "pkg", "png", "psd", "pwd",
    "px", "rc", "rgb", "rtl", "script", "sdk", "sm", "spring", "sql", "src", "std", "string", "svg", "sys", "tbl",
    "tcp", "tmpl", "tpl", "ts", "tv", "txt", "ui", "url", "usb", "ux", "vm", "vr", "wp", "ws", "xhr", "xl", "xls",
    "xml", "xs", "yml",
];

/// Returns true if a token is words in camel case, such as `SemiBold`, `dataTables` or `iPhone15Pro`.
fn is_words(token: &str) -> bool {
    // People end no word with a separator, and never write two in a row.
    let is_separator = |byte: &u8| matches!(byte, b'-' | b'_');
    if token.as_bytes().windows(2).any(|pair| pair.iter().all(is_separator)) || token.ends_with('-') {
        return false;
    }
    let pieces = token.as_bytes().chunk_by(|a, b| {
        // A word continues in lower case, and a number with digits.
        if a.is_ascii_digit() { b.is_ascii_digit() } else { a.is_ascii_alphabetic() && b.is_ascii_lowercase() }
    });
    let mut words = pieces.filter(|&piece| !matches!(piece, b"-" | b"_"));
    let usual_length = token.len() == TOKEN_CHARS_USUAL;
    // `iPhone`, `jQuery`, `eBook`: one small letter before.
    let is_small_letter = |word: &[u8]| matches!(word, [letter] if letter.is_ascii_lowercase());
    let first = words.next().is_some_and(|word| is_small_letter(word) || is_word(word, usual_length));
    first && words.all(|word| is_word(word, usual_length))
}

/// Returns true if a text is pronounceable: a vowel, and no three consonants in a row.
fn is_word(word: &[u8], usual_length: bool) -> bool {
    if word.iter().all(u8::is_ascii_digit) {
        return true;
    }
    let lower = word.to_ascii_lowercase();
    if str::from_utf8(&lower).is_ok_and(|word| WORDS.contains(&word)) {
        return true;
    }
    let is_vowel = |byte: &u8| matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
    let consonants = lower.split(is_vowel).map(<[u8]>::len).max().unwrap_or(0);
    // Hashes of other lengths are rare, so weaker evidence of a word suffices.
    lower.len() > 1 && lower.iter().any(is_vowel) && consonants < if usual_length { 3 } else { 4 }
}

#[cfg(test)]
mod tests;
