//! The edge's own paths below `/.well-known/devanture/`.

use devanture_config::Sha256;

use crate::target::{self, Target};

/// Folder of the edge's own paths, which may also contain files of a site.
const FOLDER: &str = "/.well-known/devanture/";
/// Folder below, with the dictionaries of pages, by SHA-256.
const DICTIONARIES: &str = "dictionary/";
/// Folders that certificate authorities read for a proof of domain ownership: ACME (RFC 8555 §8.3), and an agreed
/// change to a website (§3.2.2.4.18 of the Baseline Requirements of the CA/Browser Forum).
const PROOFS: [&str; 2] = ["/.well-known/acme-challenge", "/.well-known/pki-validation"];

/// A path of the edge, answered before routes, rules and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPath {
    /// The public settings of the environment.
    Env,
    /// Reports of browsers about resources loaded without a hash, if the site has hashes.
    Integrity,
    /// The version.
    Release,
    /// Target of share links, open to every visitor.
    Share,
    /// The status page of the environment, if the site has one.
    Status,
    /// The pages' compression dictionary of the given SHA-256.
    Dictionary(Sha256),
}

impl OwnPath {
    /// The path of [`OwnPath::Integrity`].
    pub const INTEGRITY: &str = "/.well-known/devanture/integrity";

    /// The own path at `path`, as sent, if any.
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

    /// The normal form of `path`, as sent, if different and one of the own paths.
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

    /// Returns true if certificate authorities read `path`, as sent, for a proof of domain ownership, in any spelling
    /// that a program may accept. On the edge's own domains such a path belongs to the edge; on custom hostnames the
    /// apps answer.
    ///
    /// A path that enters another segment first and leaves the segment again, as `/x/../` does, does not count: the
    /// only response is a redirect to the normal form.
    #[must_use]
    #[inline]
    pub fn is_for_proofs(path: &str) -> bool {
        may_be_well_known(path) && Self::leads_to_proofs(path)
    }

    /// Returns true for such a path after removal of dot segments, as a client may do with a path that is redirected
    /// unchanged.
    #[must_use]
    pub fn leads_to_proofs(path: &str) -> bool {
        target::may_lead_into(path, &PROOFS)
    }

    /// The path of the dictionary with the SHA-256.
    #[must_use]
    pub fn of_dictionary(sha256: Sha256) -> String {
        format!("{FOLDER}{DICTIONARIES}{sha256}")
    }
}

/// Returns true if the first segment of `path`, as sent, may be read as `.well-known` (RFC 8615): nearly every path
/// begins with a letter, and is decided by that letter.
#[inline]
fn may_be_well_known(path: &str) -> bool {
    matches!(path.as_bytes(), [b'/', b'%' | b'.' | b'/' | b';' | b'\\', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    /// A character literally and encoded, and a slash in every form that a program may accept.
    fn spellings(character: char) -> Vec<String> {
        let code = u32::from(character);
        let mut all = vec![character.to_string(), format!("%{code:02X}"), format!("%{code:02x}")];
        if character == '/' {
            all.extend(["//", "/./", "/%2E/", "%2f%2F", "\\", "%5C", "%5c/"].map(str::to_owned));
        }
        all
    }

    /// All spellings, including those that programs without checks accept.
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
            // A backslash is refused first of all.
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
