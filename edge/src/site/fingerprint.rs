//! Which names carry a hash of the file's content, so that another content would have another name.
//!
//! A name counts only if it has the form that a generator gives it **and** its token looks like a hash: at least
//! [`TOKEN_CHARS_MIN`] characters that hold a digit, or mixed case beyond the first letter, and are neither a date, nor
//! a size, nor words. A mistake is not the same on both sides: a hash that is not seen costs a request now and then,
//! while a word that is taken for one leaves browsers with an old file for a year. So in doubt it is no hash.

use super::media::extension;

/// Fewest characters of a token.
pub const TOKEN_CHARS_MIN: usize = 8;
/// What Vite, Rollup, esbuild and their kin write where nobody said another length.
const TOKEN_CHARS_USUAL: usize = 8;
/// Most characters of a token: a SHA-512 in hex.
const TOKEN_CHARS_MAX: usize = 128;
/// A name that is nothing but a token must have as many characters of hex as this, unless its folder says what it is.
const BARE_HEX_CHARS_MIN: usize = 12;

/// Folders that a generator fills with hashed names alone.
const GENERATED_FOLDERS: &[&str] = &["_app/immutable/", "_astro/", "_next/static/", "_nuxt/"];

/// Endings of files whose bytes may change while the name's hash stays: pages, and what is made of another file.
const NEVER: &[&str] = &["br", "gz", "htm", "html", "map", "shtml", "txt", "xht", "xhtml", "zst"];

/// What stands between a token and the ending; `-s` and `.p` are of Next's fonts, `_bg` of wasm-bindgen.
const AFTER_TOKEN: &[&str] =
    &["-s", ".async", ".bundle", ".chunk", ".entry", ".esm", ".min", ".module", ".p", ".worker", "_bg"];

/// Whether the file at `path` has a fingerprinted name; a file's name alone does, but its folders help.
#[must_use]
pub fn is_fingerprinted(path: &str) -> bool {
    pattern(path).is_some()
}

/// What of a fingerprinted path stands before the token and after it, and so stays when the content changes.
#[must_use]
pub fn pattern(path: &str) -> Option<(&str, &str)> {
    let ending = extension(path)?;
    if NEVER.contains(&ending.as_str()) {
        return None;
    }
    let folder_bytes = path.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, file_name) = path.split_at_checked(folder_bytes)?;
    let (stem, _) = file_name.rsplit_once('.')?;
    let (before, token) = named_token(without_markers(stem)).or_else(|| bare_token(folder, without_markers(stem)))?;
    let start = folder_bytes + before.len();
    Some((path.get(..start)?, path.get(start + token.len()..)?))
}

fn without_markers(mut stem: &str) -> &str {
    while let Some(shorter) = AFTER_TOKEN.iter().find_map(|marker| stem.strip_suffix(marker)) {
        stem = shorter;
    }
    stem
}

/// The token at the end of `name-TOKEN` or `name.TOKEN`, with what is before it.
fn named_token(stem: &str) -> Option<(&str, &str)> {
    // The usual length first, since such a token may hold a `-` itself: `shared-ChJ_j-JJ`.
    let usual = stem.len().checked_sub(TOKEN_CHARS_USUAL).and_then(|start| stem.split_at_checked(start));
    let last = stem.rfind(['-', '.']).and_then(|place| stem.split_at_checked(place + 1));
    [last, usual].into_iter().flatten().find(|(before, token)| {
        let has_name = before.len() > 1 && before.ends_with(['-', '.']);
        has_name && is_token(token)
    })
}

/// A name that is a token as a whole.
fn bare_token<'s>(folder: &str, stem: &'s str) -> Option<(&'s str, &'s str)> {
    let is_generated = GENERATED_FOLDERS
        .iter()
        .any(|generated| folder.starts_with(generated) || folder.contains(&format!("/{generated}")));
    let is_long_hex = stem.len() >= BARE_HEX_CHARS_MIN && stem.bytes().all(is_lower_hex);
    ((is_generated || is_long_hex) && is_token(stem)).then_some(("", stem))
}

/// Whether a text looks like a hash that a generator wrote.
fn is_token(token: &str) -> bool {
    let all = |is: fn(u8) -> bool| token.bytes().all(is);
    let any = |is: fn(u8) -> bool| token.bytes().any(is);
    let fits = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len())
        && all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && any(|byte| byte.is_ascii_alphabetic())
        && !has_date(token)
        && !is_size(token);
    let has_digit = any(|byte| byte.is_ascii_digit());
    match (any(|byte| byte.is_ascii_lowercase()), any(|byte| byte.is_ascii_uppercase())) {
        _ if !fits => false,
        // base64url: Vite, Rollup, Astro, SvelteKit, Nuxt.
        (true, true) => (has_digit || is_mixed_beyond_first(token)) && !is_words(token),
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

/// Letters and digits that change places like those of a hash, not `version2`, `base64encode` or `1080p60fps`.
fn is_base36(token: &str) -> bool {
    let runs: Vec<&[u8]> = token.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).collect();
    let is_number = |run: &[u8]| run.iter().all(u8::is_ascii_digit);
    token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && runs.len() > 2
        && runs.iter().all(|run| is_number(run) || run.len() < 5)
        && runs.first().is_some_and(|run| !is_number(run) || run.len() < 3)
}

fn is_upper_hash(token: &str) -> bool {
    let is_base32 = token.len() == TOKEN_CHARS_USUAL && token.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    let is_hex = token.bytes().all(|b| matches!(b, b'A'..=b'F' | b'0'..=b'9'));
    // base64url that happens to hold no small letter: digits stand among the letters, not behind them.
    let runs = token.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).count();
    let is_base64 = token.len() == TOKEN_CHARS_USUAL && token.bytes().all(|b| b.is_ascii_alphanumeric()) && runs > 2;
    // A camera's or a document's number: letters, and then digits alone.
    let letters = token.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_number = token.len() - letters.len() > 2 && letters.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_base32 || is_hex || is_base64) && !is_number
}

/// Whether a run of digits is a day, `20240115`, or a second of one, `20240115093000`.
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

/// Words that people join in names and that the rules of [`is_word`] would not let pass.
const WORDS: &[&str] = &[
    "api", "app", "css", "ctrl", "dns", "extra", "gl", "html", "http", "https", "id", "js", "json", "jwt", "light",
    "md", "mp", "pdf", "png", "rgb", "rtl", "script", "spring", "src", "string", "svg", "ts", "ui", "url", "xml",
];

/// Whether a token is words in camel case, such as `SemiBold`, `dataTables` or `iPhone15Pro`.
fn is_words(token: &str) -> bool {
    let pieces = token.as_bytes().chunk_by(|a, b| {
        // A word goes on with lower case, and a number with digits.
        if a.is_ascii_digit() { b.is_ascii_digit() } else { a.is_ascii_alphabetic() && b.is_ascii_lowercase() }
    });
    let mut words = pieces.filter(|&piece| !matches!(piece, b"-" | b"_"));
    let usual_length = token.len() == TOKEN_CHARS_USUAL;
    // `iPhone`, `jQuery`, `eBook`: one small letter before.
    let is_small_letter = |word: &[u8]| matches!(word, [letter] if letter.is_ascii_lowercase());
    let first = words.next().is_some_and(|word| is_small_letter(word) || is_word(word, usual_length));
    first && words.all(|word| is_word(word, usual_length))
}

/// Whether it can be spoken: it has a vowel, and not three consonants in a row.
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
    // Hashes of another length than the usual one are rare, so that less speaks for them.
    lower.len() > 1 && lower.iter().any(is_vowel) && consonants < if usual_length { 3 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    #[test]
    fn names_of_generators_are_fingerprinted() {
        #[rustfmt::skip]
        let cases = [
            // path, before the token, after it
            // Vite, Rollup
            ("assets/index-B3xY9_aZ.js",             "assets/index-",        ".js"),
            ("assets/home-DFSS0TQZ.js",              "assets/home-",         ".js"),
            ("assets/index-DiwrgTda.css",            "assets/index-",        ".css"),
            ("assets/shared-ChJ_j-JJ.css",           "assets/shared-",       ".css"),
            ("assets/foo-BRBmoGS9.js",               "assets/foo-",          ".js"),
            ("assets/bar-gkvgaI9m.js",               "assets/bar-",          ".js"),
            ("assets/baz-B2H3sXNv.js",               "assets/baz-",          ".js"),
            ("assets/index-legacy-CPDhe4bE.js",      "assets/index-legacy-", ".js"),
            ("assets/KaTeX_Main-Regular-B22Nviop.woff2", "assets/KaTeX_Main-Regular-", ".woff2"),
            ("app.3f2a91bc.js",                      "app.",                 ".js"),
            ("name-5d41402a.js",                     "name-",                ".js"),
            ("index-AbCdEfGh.js",                    "index-",               ".js"),
            // webpack
            ("main.4f2a91bc03de.js",                 "main.",                ".js"),
            ("4f2a91bc03de5a6b.js",                  "",                     ".js"),
            ("123.4f2a91bc.chunk.js",                "123.",                 ".chunk.js"),
            ("static/css/main.f855e6bc.chunk.css",   "static/css/main.",     ".chunk.css"),
            ("static/media/logo.6ce24c58.svg",       "static/media/logo.",   ".svg"),
            ("1018.4f2a91bc03de5a6b7c8d.js",         "1018.",                ".js"),
            ("31d6cfe0d16ae931b73c.woff2",           "",                     ".woff2"),
            // Next
            ("_next/static/chunks/framework-64ad27b21261a9ce.js", "_next/static/chunks/framework-", ".js"),
            ("_next/static/chunks/23-4f2a91bc03de5a6b.js", "_next/static/chunks/23-", ".js"),
            ("_next/static/css/5d41402abc4b2a76.css", "_next/static/css/",   ".css"),
            ("_next/static/media/a34f9d1faa5f3315-s.p.woff2", "_next/static/media/", "-s.p.woff2"),
            // Angular, esbuild, Remix
            ("main-ABCDEFG2.js",                     "main-",                ".js"),
            ("polyfills.1a2b3c4d5e6f7a8b.js",        "polyfills.",           ".js"),
            ("chunk-7XQ2K3LM.js",                    "chunk-",               ".js"),
            ("entry.client-7XQ2K3LM.js",             "entry.client-",        ".js"),
            // Parcel, Nuxt, Astro, SvelteKit, Qwik
            ("index.a1b2c3d4.css",                   "index.",               ".css"),
            ("_nuxt/B3xY9_aZ.js",                    "_nuxt/",               ".js"),
            ("_nuxt/entry.DkXqLmAb.css",             "_nuxt/entry.",         ".css"),
            ("base/_nuxt/B3xY9_aZ.js",               "base/_nuxt/",          ".js"),
            ("_astro/index.DkX9_2ab.css",            "_astro/index.",        ".css"),
            ("_app/immutable/entry/start.BhQ2k9Xa.js", "_app/immutable/entry/start.", ".js"),
            ("_app/immutable/chunks/BhQ2k9Xa.js",    "_app/immutable/chunks/", ".js"),
            ("build/q-B3xY9_aZ.js",                  "build/q-",             ".js"),
            // Rails, Django, Hugo, Phoenix, Trunk, Blazor, Rollup in base36
            ("application-4f2a91bc03de5a6b7c8d9e0f1a2b3c4d.css", "application-", ".css"),
            ("base.27e20196a850.js",                 "base.",                ".js"),
            ("main.min.4f2a91bc03de5a6b.css",        "main.min.",            ".css"),
            ("app-4f2a91bc03de5a6b_bg.wasm",         "app-",                 "_bg.wasm"),
            ("dotnet.native.k3j9x2m1p0.wasm",        "dotnet.native.",       ".wasm"),
            ("name-1k2j3h4g.js",                     "name-",                ".js"),
            ("logo-x7k2m9p4.png",                    "logo-",                ".png"),
        ];
        for (path, before, after) in cases {
            assert_eq!(pattern(path), Some((before, after)), "{path}");
        }
    }

    #[test]
    fn names_of_people_are_not_fingerprinted() {
        #[rustfmt::skip]
        let paths = [
            "oauth2-redirect.js", "jquery-3.7.1.min.js", "bootstrap.min.css", "IMG_20240101.jpg", "2024-01-15-report.html",
            "app-v10.2.3.js", "swagger-ui-bundle.js", "favicon-32x32.png", "report-20240115.pdf",
            // Pages, and what is made of another file.
            "index-B3xY9_aZ.html", "index-B3xY9_aZ.js.map", "index-B3xY9_aZ.js.gz", "main.4f2a91bc03de.js.LICENSE.txt",
            // Dates, sizes, numbers.
            "photo-20240115093000.jpg", "release-b20240115.js", "app.v20240115.js", "photo-12345678.jpg",
            "android-chrome-192x192.png", "og-image-1200x630.png", "hero-1920x1080.jpg", "video-1080p60fps.mp4",
            "report-2024q4v2.pdf", "photo-DSC02345.jpg", "DSC01234.JPG", "IMG-E1234567.jpg", "scan-ISBN2345.png",
            "550e8400-e29b-41d4-a716-446655440000.png",
            // Words.
            "jquery.dataTables.js", "jquery-dataTables.min.js", "Inter-SemiBold.woff2", "Inter-ExtraBold.woff2",
            "Inter-ExtraLight.woff2", "Inter-BoldItalic.woff2", "Poppins-LightItalic.ttf", "Inter-SemiBold600.woff2",
            "mockup-iPhone15Pro.png", "page-homePage.js", "a.jQueryForm.js", "img-MyPhoto12.png", "a-Chapter1.js",
            "swagger-ui-standalone-preset.js", "roboto-v30-latin-500italic.woff2", "my-version2.js", "my-base64encode.js",
            "my-utf8decoder.js", "my-i18nconfig.js", "babel-es2015polyfills.js", "a-mp3player.js", "app.serviceWorker.js",
            "foo-Bar-Baz2.js", "foo-bar-ba2z.js", "chapter1.js", "bootstrap5.css", "jQuery36.js", "MyApp123.js",
            "README-Overview.md", "foo-camelCase.js", "bar.bundleLoader.js", "a-someThingElse.css",
            // Too short, too little.
            "app-4f2a91b.js", "main-a1b2.js", "sw.js", "index", "a-ABCDEFGH.js", "a-deadbeef.js", "-4f2a91bc", ".4f2a91bc.js",
            "_next/static/build1/_buildManifest.js", "_app/version.json", "4f2a91bc.js", "logo-a1b2c3d4@2x.png", "",
        ];
        for path in paths {
            assert_eq!(pattern(path), None, "{path}");
        }
    }

    /// A hash as a generator writes it, from a seed.
    fn hash(mut seed: u64, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(alphabet[usize::try_from(seed >> 33).unwrap() % alphabet.len()])
            })
            .collect()
    }

    #[test]
    fn nearly_every_real_hash_is_seen() {
        let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let base32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        #[rustfmt::skip]
        let cases: [(&str, &[u8], usize, usize); 5] = [
            // Of 10,000 hashes at least so many.
            ("base64url", base64,                8,  9_600),
            ("base64url", base64,                12, 8_500), // one in six holds a -, where it is cut
            ("hex",       b"0123456789abcdef",   8,  9_650), // one in 43 is digits alone
            ("hex",       b"0123456789abcdef",   20, 9_990),
            ("base32",    base32,                8,  7_900), // one in five has no digit
        ];
        for (name, alphabet, length, least) in cases {
            let seen = (0..10_000).filter(|&seed| {
                let token = hash(seed * 7_919 + 1, alphabet, length);
                is_fingerprinted(&format!("assets/index-{token}.js"))
            });
            let seen = seen.count();
            assert!(seen >= least, "{name} of {length}: {seen}");
        }
    }

    proptest! {
        #[test]
        fn before_token_and_after_make_the_path(path in "([a-zA-Z_]{0,8}/)?[a-zA-Z]{0,6}[-.]?[-A-Za-z0-9_]{8,16}(\\.min)?\\.(js|css|html)") {
            if let Some((before, after)) = pattern(&path) {
                let token = &path[before.len()..path.len() - after.len()];
                prop_assert!(path.starts_with(before) && path.ends_with(after));
                prop_assert!(token.len() >= TOKEN_CHARS_MIN && !token.contains('/') && !path.ends_with(".html"));
            }
        }

        #[test]
        fn no_text_makes_it_panic(path in any::<String>(), tail in "\\PC{8}\\.js") {
            black_box(pattern(&path));
            black_box(pattern(&format!("{path}-{tail}")));
        }
    }
}
