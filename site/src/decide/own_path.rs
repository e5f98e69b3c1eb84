//! Paths of the edge's own below `/.well-known/devanture/`.

use devanture_config::Sha256;

use crate::target::{self, Target};

/// Below it lie the edge's own paths; a site's files may lie there, too.
const FOLDER: &str = "/.well-known/devanture/";
/// Below that, the dictionaries of pages, by their SHA-256.
const DICTIONARIES: &str = "dictionary/";
/// Where certificate authorities look for the proof that somebody has a name: by ACME (RFC 8555 §8.3), and by an agreed
/// change to a website (§3.2.2.4.18 of the Baseline Requirements of the CA/Browser Forum).
const PROOFS: [&str; 2] = ["/.well-known/acme-challenge", "/.well-known/pki-validation"];

/// A path of the edge's own: it is answered before routes, rules and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPath {
    /// The settings that the environment shows to its front.
    Env,
    /// Where browsers report what pages load without a hash, where its site has hashes.
    Integrity,
    /// The version.
    Release,
    /// Where share links lead to; what they open is open by itself.
    Share,
    /// The page that says whether the environment is up, where its site has one.
    Status,
    /// The compression dictionary of its pages that has this SHA-256.
    Dictionary(Sha256),
}

impl OwnPath {
    /// Where [`OwnPath::Integrity`] is.
    pub const INTEGRITY: &str = "/.well-known/devanture/integrity";

    /// The one at `path`, as it was sent, if there is one.
    #[must_use]
    #[inline]
    pub fn of(path: &str) -> Option<Self> {
        Self::below(path.strip_prefix(FOLDER)?)
    }

    fn below(rest: &str) -> Option<Self> {
        match rest {
            "env.json" => Some(Self::Env),
            "integrity" => Some(Self::Integrity),
            "release.json" => Some(Self::Release),
            "share" => Some(Self::Share),
            "status" => Some(Self::Status),
            other => Some(Self::Dictionary(other.strip_prefix(DICTIONARIES)?.parse().ok()?)),
        }
    }

    /// The normal form of `path`, as it was sent, where that is another one and one of these.
    #[inline]
    pub(super) fn respelled(path: &str, bytes_max: usize) -> Option<(Self, String)> {
        if !may_be_well_known(path) {
            return None;
        }
        match target::normalise(path, bytes_max) {
            Target::Redirect(to) => Self::of(&to).map(|own| (own, to)),
            Target::Normal(_) | Target::Refuse(_) => None,
        }
    }

    /// Whether certificate authorities look at `path`, as it was sent, for the proof that somebody has the name; any
    /// spelling counts that a program may read so. At a name that the edge gives such a path is the edge's; at
    /// hostnames of their own apps answer it.
    ///
    /// A path that begins with another segment and leaves it again, as `/x/../` does, is none: nothing answers it but
    /// a redirect to its normal form.
    #[must_use]
    #[inline]
    pub fn is_for_proofs(path: &str) -> bool {
        may_be_well_known(path) && Self::leads_to_proofs(path)
    }

    /// The same of a path that is sent on elsewhere as it is: a client may remove its dot segments first.
    #[must_use]
    pub fn leads_to_proofs(path: &str) -> bool {
        target::may_lead_into(path, &PROOFS)
    }

    /// Where the dictionary with this SHA-256 is.
    #[must_use]
    pub fn of_dictionary(sha256: Sha256) -> String {
        format!("{FOLDER}{DICTIONARIES}{sha256}")
    }
}

/// Whether the first segment of `path`, as it was sent, may be read as `.well-known` (RFC 8615). Nearly every path begins
/// with a letter, and is looked at no further.
#[inline]
fn may_be_well_known(path: &str) -> bool {
    matches!(path.as_bytes(), [b'/', b'%' | b'.' | b'/' | b';' | b'\\', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    /// A character as it is and encoded, and a slash in all forms that a program may read as one.
    fn spellings(character: char) -> Vec<String> {
        let code = u32::from(character);
        let mut all = vec![character.to_string(), format!("%{code:02X}"), format!("%{code:02x}")];
        if character == '/' {
            all.extend(["//", "/./", "/%2E/", "%2f%2F", "\\", "%5C", "%5c/"].map(str::to_owned));
        }
        all
    }

    /// The same, and what programs take for it that refuse nothing.
    fn lax_spellings(character: char) -> Vec<String> {
        let mut all = spellings(character);
        all.extend([format!("%25{:02x}", u32::from(character)), character.to_ascii_uppercase().to_string()]);
        if character == '/' {
            all.extend([";/", ";a=b/", "%3Ba/", "%253b/", "/;a/", "./", "%20/", ". .;a/"].map(str::to_owned));
        }
        all
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_path_for_proofs_is_one(
            folder in select(PROOFS.to_vec()),
            chosen in proptest::collection::vec(any::<Index>(), 28),
            name in "[A-Za-z0-9_-]{0,8}",
        ) {
            let prefix = format!("{folder}/");
            prop_assert_eq!(prefix.len(), chosen.len());
            let spelled = |(character, chosen): (char, &Index)| chosen.get(&lax_spellings(character)).clone();
            let spelled: String = prefix.chars().zip(&chosen).map(spelled).collect();
            // The target of a request begins with a slash (RFC 9112 §3.2.1).
            let path = if spelled.starts_with('/') { format!("{spelled}{name}") } else { format!("/{spelled}{name}") };
            prop_assert!(OwnPath::is_for_proofs(&path), "{}", path);
        }

        #[test]
        fn another_spelling_of_an_own_path_has_that_one_as_its_normal_form(
            chosen in proptest::collection::vec(any::<Index>(), 31),
        ) {
            let own = format!("{FOLDER}env.json");
            prop_assert_eq!(own.len(), chosen.len());
            // A backslash is refused before anything answers.
            let spelled = |(character, chosen): (char, &Index)| {
                let all: Vec<String> = spellings(character).into_iter().filter(|text| !has_backslash(text)).collect();
                chosen.get(&all).clone()
            };
            let spelled: String = own.chars().zip(&chosen).map(spelled).collect();
            let path = if spelled.starts_with('/') { spelled } else { format!("/{spelled}") };
            // Dot segments behind an encoded slash are refused, too.
            if let Target::Redirect(to) = target::normalise(&path, usize::MAX) {
                prop_assert_eq!(&to, &own, "{}", path);
                prop_assert_eq!(OwnPath::respelled(&path, usize::MAX), Some((OwnPath::Env, own)), "{}", path);
            }
        }
    }

    fn has_backslash(text: &str) -> bool {
        text.contains('\\') || text.to_ascii_lowercase().contains("%5c")
    }

    #[test]
    fn what_some_program_reads_as_a_path_for_proofs_is_one() {
        #[rustfmt::skip]
        let table = [
            ("/.well-known/acme-challenge/x",          "every program"),
            ("/.well-known/pki-validation/x.txt",      "every program"),
            ("/.well-known/acme-challenge/",           "every program"),
            ("/.well-known/acme-challenge;a/x",        "a servlet container: no parameters of segments"),
            ("/.well-known/acme-challenge;a=b;c/x",    "a servlet container"),
            ("/.well-known;/acme-challenge/x",         "a servlet container"),
            ("/;a/.well-known/acme-challenge/x",       "a servlet container: the segment is empty"),
            ("/.well-known/y/..;/acme-challenge/x",    "a servlet container"),
            ("/.well-known/acme-challenge%3Ba/x",      "one that drops parameters after it has decoded"),
            ("/.well-known/acme-challenge/..;/x",      "one that knows no parameters"),
            ("/.well-known/acme-challenge/../x",       "one that knows no dot segments"),
            ("/%2Ewell-known/%61cme-challenge%2Fx",    "one that decodes all at once"),
            ("/%252ewell-known/acme-challenge/x",      "one that decodes twice"),
            ("/.well-known/acme-challenge/%252e%252e", "one that decodes once"),
            ("/.well-known\\acme-challenge\\x",       "a program of Windows"),
            ("/.WELL-KNOWN/Acme-Challenge/x",          "a file system that knows no case"),
            ("/.well-known./acme-challenge%20/x",      "a file system of Windows: no dots and spaces at the end"),
            ("//.well-known///acme-challenge//x",      "one that drops empty segments"),
        ];
        for (path, by) in table {
            assert!(OwnPath::is_for_proofs(path) && OwnPath::leads_to_proofs(path), "{path}: {by}");
        }
    }

    #[test]
    fn other_paths_are_for_no_proofs() {
        for path in [
            "",
            "*",
            "/",
            "/.well-known",
            "/.well-known/",
            "/.well-known/acme-challenge",
            "/.well-known/acme-challenges/x",
            "/.well-known/security.txt",
            "/.well-known/acme-challenge;a",
            "/.well-known/acme-challenge.txt/x",
            "/.well-known/../acme-challenge/x",
            "/%25252ewell-known/acme-challenge/x",
            "/a/.well-known/acme-challenge/x",
            "/.a/.well-known/acme-challenge/x",
            "/%",
        ] {
            assert!(!OwnPath::is_for_proofs(path) && !OwnPath::leads_to_proofs(path), "{path}");
        }
        for path in ["/x/../.well-known/acme-challenge/x", "/x/%2e%2E/%2ewell-known\\pki-validation/x"] {
            assert!(!OwnPath::is_for_proofs(path) && OwnPath::leads_to_proofs(path), "{path}");
        }
        assert_eq!(OwnPath::respelled("/.well-known/devanture/env.json", usize::MAX), None);
        assert_eq!(OwnPath::respelled("/.well-known/devanture/%61", usize::MAX), None);
    }
}
