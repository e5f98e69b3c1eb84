//! PEM as found in practice (RFC 7468 §2): blocks after a space or a byte order mark, and files joined without a line
//! break.
//!
//! PEM readers skip a line with `-----BEGIN` after its start, together with the whole block: an authority is then not
//! trusted, or an intermediate certificate passes for the server's. So each block is found here, or the line of a
//! faulty boundary is reported.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::CertificateDer;
use webpki::anchor_from_trusted_cert;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const BYTE_ORDER_MARK: char = '\u{feff}';
const CERTIFICATE: &str = "CERTIFICATE";
/// End of the labels of keys: RFC 7468 §10, §11, and the older forms of each algorithm.
const PRIVATE_KEY: &str = "PRIVATE KEY";
/// End of the labels of parameters, written by OpenSSL beside a key and common in key files of servers.
const PARAMETERS: &str = " PARAMETERS";
/// Base64 as accepted by PEM readers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Marks of an encrypted key: RFC 5958 §3, RFC 1421 §4.6.1.1.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

/// Error for invalid PEM, as a clause about the file. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// A line has a faulty boundary.
    #[error("line {0} looks like a boundary, and is not `-----BEGIN …-----` or `-----END …-----` as a whole")]
    Boundary(usize),
    /// A block has an unknown kind.
    #[error("line {0} begins a block that is neither a CERTIFICATE nor a PRIVATE KEY")]
    Unread(usize),
    /// A private key among certificates.
    #[error("line {0} begins a private key, and a private key is no certificate")]
    Key(usize),
    /// A certificate has characters outside base64: in this line, or in the block that begins in this line.
    #[error("line {0} is, or begins, a certificate that is not base64")]
    Base64(usize),
    /// The content of a block is not X.509 (RFC 5280 §4.1).
    #[error("line {0} begins a certificate that is base64, and no certificate")]
    Content(usize),
    /// A form of certificates understood by OpenSSL alone.
    #[error("line {0} begins a TRUSTED CERTIFICATE, which `openssl x509 -in FILE` turns into a CERTIFICATE")]
    Trusted(usize),
    /// A block ends without a beginning.
    #[error("line {0} ends a block that did not begin")]
    Unbegun(usize),
    /// A block has no end.
    #[error("the block that begins in line {0} does not end")]
    Unended(usize),
}

/// Returns the blocks of `pem` alone, with standard boundaries.
///
/// # Errors
/// [`BadPem`], for a boundary that PEM readers would skip, and for a certificate with invalid base64.
pub fn blocks(pem: &[u8]) -> Result<String, BadPem> {
    Ok(read(pem, PrivateKeys::Taken)?.blocks)
}

/// Returns the blocks of a public text with certificates of authorities only.
///
/// # Errors
/// [`BadPem`], also for a private key, and for a certificate unreadable to an edge.
pub fn certificates(pem: &[u8]) -> Result<String, BadPem> {
    let Read { blocks, certificates } = read(pem, PrivateKeys::Refused)?;
    for (line, content) in certificates {
        anchor_from_trusted_cert(&CertificateDer::from(content)).map_err(|_not_x509| BadPem::Content(line))?;
    }
    Ok(blocks)
}

/// Parsed text.
#[derive(Default)]
struct Read {
    blocks: String,
    /// Content of the certificates, with their first lines.
    certificates: Vec<(usize, Vec<u8>)>,
}

/// Permission of private keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PrivateKeys {
    Refused,
    Taken,
}

fn read(pem: &[u8], keys: PrivateKeys) -> Result<Read, BadPem> {
    let text = String::from_utf8_lossy(pem).replace("\r\n", "\n").replace('\r', "\n");
    let (mut found, mut open) = (Read::default(), None::<OpenBlock<'_>>);
    for (line, number) in text.split('\n').zip(1_usize..) {
        let mut line = trimmed(line);
        // A file without a final line break runs into the next file: a beginning may follow an end.
        while let Some((label, rest)) = line.strip_prefix(END).and_then(|rest| rest.split_once(DASHES)) {
            match open.take() {
                Some(begun) if begun.label == label => begun.end(&mut found)?,
                Some(begun) => return Err(BadPem::Unended(begun.line)),
                None => return Err(BadPem::Unbegun(number)),
            }
            line = trimmed(rest);
        }
        let begun = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
        if let Some(label) = begun.filter(|label| !label.contains(DASHES)) {
            if let Some(begun) = open {
                return Err(BadPem::Unended(begun.line));
            }
            if keys == PrivateKeys::Refused && label.ends_with(PRIVATE_KEY) {
                return Err(BadPem::Key(number));
            }
            open = Some(OpenBlock::new(label, number, &mut found.blocks)?);
        } else if line.starts_with('#') && open.is_none() {
            // A block removed on purpose.
        } else if looks_like_boundary(line) {
            return Err(BadPem::Boundary(number));
        } else if let Some(begun) = &open {
            if begun.is_certificate() && !line.bytes().all(is_of_base64) {
                return Err(BadPem::Base64(number));
            }
            found.blocks.push_str(line);
            found.blocks.push('\n');
        }
    }
    match open {
        Some(begun) => Err(BadPem::Unended(begun.line)),
        None => Ok(found),
    }
}

/// Block without an end so far.
struct OpenBlock<'t> {
    label: &'t str,
    line: usize,
    /// Start of the content among the blocks.
    at: usize,
}

impl<'t> OpenBlock<'t> {
    fn new(label: &'t str, line: usize, blocks: &mut String) -> Result<Self, BadPem> {
        if label == "TRUSTED CERTIFICATE" {
            return Err(BadPem::Trusted(line));
        }
        add(blocks, BEGIN, label);
        let begun = Self { label, line, at: blocks.len() };
        let is_read = begun.is_certificate() || label.ends_with(PRIVATE_KEY) || label.ends_with(PARAMETERS);
        if is_read { Ok(begun) } else { Err(BadPem::Unread(line)) }
    }

    fn is_certificate(&self) -> bool {
        normal(self.label) == CERTIFICATE
    }

    fn end(self, found: &mut Read) -> Result<(), BadPem> {
        if self.is_certificate() {
            let content: String = found.blocks.get(self.at..).unwrap_or_default().split_whitespace().collect();
            let content = BASE64.decode(content).map_err(|_not_base64| BadPem::Base64(self.line))?;
            found.certificates.push((self.line, content));
        }
        add(&mut found.blocks, END, self.label);
        Ok(())
    }
}

/// Returns true if a line looks like an intended boundary: BEGIN or END after dashes of any kind.
fn looks_like_boundary(line: &str) -> bool {
    let is_closed = line.ends_with(is_dash);
    let shown = if is_closed { line.to_ascii_uppercase() } else { line.to_owned() };
    let is_meant = |(at, word): (usize, &str)| {
        let (before, after) = shown.split_at_checked(at).unwrap_or_default();
        let before = before.trim_end();
        let is_word = after.strip_prefix(word).is_none_or(|rest| !rest.starts_with(char::is_alphanumeric));
        match before.chars().rev().take_while(|&c| is_dash(c)).count() {
            0 => before.is_empty() && is_closed,
            // A name may contain the word, as in `FRONT-END-CA`.
            1 => is_closed && (before.chars().all(is_dash) || !before.ends_with('-')),
            _ => is_closed || is_word,
        }
    };
    ["BEGIN", "END"].iter().any(|word| shown.match_indices(word).any(is_meant))
}

/// Returns true if a character is a dash (Unicode, `Dash`), since editors replace hyphens.
const fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
}

const fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b' ' | b'\t')
}

/// Returns true if `pem` has a password-protected private key.
#[must_use]
pub fn has_encrypted_key(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    ENCRYPTED.iter().any(|mark| text.contains(mark))
}

fn trimmed(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK)
}

/// Returns the current label. Certificates had other labels in the past (RFC 7468 §5.1).
fn normal(label: &str) -> &str {
    match label {
        "X509 CERTIFICATE" | "X.509 CERTIFICATE" => CERTIFICATE,
        label => label,
    }
}

fn add(blocks: &mut String, boundary: &str, label: &str) {
    for part in [boundary, normal(label), DASHES, "\n"] {
        blocks.push_str(part);
    }
}

/// Certificate of an authority whose key was discarded.
#[cfg(test)]
pub(crate) const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBgDCCASWgAwIBAgIUAMy/0LJSUTlWL7Dxy3m5GoonrFgwCgYIKoZIzj0EAwIw\n\
    FDESMBAGA1UEAwwJcm9vdC50ZXN0MCAXDTI2MTIwMTAyMzcyNloYDzIxMjYxMTA3\n\
    MDIzNzI2WjAUMRIwEAYDVQQDDAlyb290LnRlc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
    PQMBBwNCAAQshdpd268+A64zrUaZRzErqa2nech/86FZPSsy1FN9f0UQUAWuJqLi\n\
    +SUucqvJNgE0VKfydMhfia33MWJLbh83o1MwUTAdBgNVHQ4EFgQUXR6vlV8+sKpM\n\
    groT4sn33w2WNZIwHwYDVR0jBBgwFoAUXR6vlV8+sKpMgroT4sn33w2WNZIwDwYD\n\
    VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAhkj9g5fGuXopHjnNOV73\n\
    kbqJ/fhq78IrE4RhjB/TaywCIQCc2Cm1M1/ozvB6J5MR7LpmcnuGbXfQyvCLK5la\n\
    AIkj9Q==\n\
    -----END CERTIFICATE-----\n";

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAUC\nAwEC\n-----END CERTIFICATE-----\n";
    const TWO: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    #[test]
    fn every_block_is_found_whatever_stands_before_it() {
        let both = format!("{ONE}{TWO}");
        let both = both.as_str();
        for (text, expected) in [
            (both.to_owned(), both),
            (format!(" {ONE}"), ONE),
            (format!("\t{}", ONE.replace('\n', "\n  ")), ONE),
            (format!("\u{a0}{ONE}"), ONE),
            (format!("\u{feff}{ONE}\u{feff}{TWO}"), both),
            (format!("\u{feff} {ONE}"), ONE),
            (both.replace('\n', "\r\n"), both),
            (both.replace('\n', "\r"), both),
            (both.replace("-----\n", "----- \t\n"), both),
            (format!("{}{TWO}", ONE.trim_end()), both),
            (format!("{} {TWO}", ONE.trim_end()), both),
            (format!("Bag Attributes\n    localKeyID: 01\n{ONE}subject=/CN=a\n{TWO}"), both),
            (format!("{ONE}# {}", ONE.replace('\n', "\n# ")), ONE),
            (ONE.replace("CERTIFICATE", "X509 CERTIFICATE"), ONE),
            (ONE.replace("CERTIFICATE", "X.509 CERTIFICATE"), ONE),
            (format!("-- Root of the FRONT-END-CA\n- end of list\nlegend\n# -- END --\nserial: 01-END-02\n{ONE}"), ONE),
            (both.trim_end().to_owned(), both),
            ("no PEM".to_owned(), ""),
            (String::new(), ""),
        ] {
            assert_eq!(blocks(text.as_bytes()).as_deref(), Ok(expected), "{text:?}");
        }
        assert_eq!(blocks(&[b"\xff\n".as_slice(), ONE.as_bytes()].concat()).as_deref(), Ok(ONE));
    }

    #[test]
    fn a_boundary_that_is_none_is_named_by_its_line() {
        for (text, expected) in [
            (format!("{ONE}ca: {ONE}"), BadPem::Boundary(5)),
            (format!("\u{200b}{ONE}"), BadPem::Boundary(1)),
            (format!("> {}", ONE.replace('\n', "\n> ")), BadPem::Boundary(1)),
            (ONE.replace('\n', "\\n"), BadPem::Boundary(1)),
            (ONE.trim_end().replace('\n', "\\n"), BadPem::Boundary(1)),
            (ONE.replace("CERTIFICATE-----\nMA", "CERTIFICATE----\nMA"), BadPem::Boundary(1)),
            (format!("\n{}", ONE.replace("-----END", "--END")), BadPem::Boundary(5)),
            (ONE.replace("END CERTIFICATE", "END PRIVATE KEY"), BadPem::Unended(1)),
            (format!("{}{ONE}", &ONE[..33]), BadPem::Unended(1)),
            (format!("{ONE}\r\n\r\n{}", &ONE[28..]), BadPem::Unbegun(9)),
            (ONE.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), BadPem::Trusted(1)),
        ] {
            assert_eq!(blocks(text.as_bytes()), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_meant_as_a_boundary_is_not_passed_over() {
        for begin in [
            "----BEGIN CERTIFICATE----",
            "----BEGIN CERTIFICATE-----",
            "------BEGIN CERTIFICATE------",
            "-BEGIN CERTIFICATE-",
            "---- BEGIN SSH2 PUBLIC KEY ----",
            "----- BEGIN CERTIFICATE -----",
            "-----BEGINCERTIFICATE-----",
            "-----begin certificate-----",
            "-----BEGIN CERTIFICATE",
            "BEGIN CERTIFICATE-----",
            "\u{2014}BEGIN CERTIFICATE\u{2014}",
            "\u{2013}\u{2013}\u{2013}BEGIN CERTIFICATE\u{2013}\u{2013}\u{2013}",
            "ca: \u{2014}\u{2014}-BEGIN CERTIFICATE\u{2014}\u{2014}-",
            "----END CERTIFICATE----",
            "\u{2014}END CERTIFICATE\u{2014}",
        ] {
            let text = format!("{ONE}{begin}\nMAUC\n");
            assert_eq!(blocks(text.as_bytes()), Err(BadPem::Boundary(5)), "{begin}");
        }
        for label in ["PKCS7", "CMS", "X509 CRL", "CERTIFICATE REQUEST", "PUBLIC KEY", "certificate", ""] {
            let text = format!("{ONE}{}", ONE.replace("CERTIFICATE", label));
            assert_eq!(blocks(text.as_bytes()), Err(BadPem::Unread(5)), "{label}");
        }
        for label in ["EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PARAMETERS", "DH PARAMETERS"] {
            assert!(blocks(ONE.replace("CERTIFICATE", label).as_bytes()).is_ok(), "{label}");
        }
    }

    #[test]
    fn a_certificate_is_base64_and_no_key() {
        for (text, expected) in [
            (ONE.replace("AwEC", "Aw.C"), BadPem::Base64(3)),
            (ONE.replace("AwEC", "Proc-Type: 4"), BadPem::Base64(3)),
            (ONE.replace("AwEC", "AwECA"), BadPem::Base64(1)),
            (ONE.replace("MAUC", "MA=="), BadPem::Base64(1)),
            (format!("{ONE}{TWO}"), BadPem::Key(5)),
            (format!("# {TWO}{ONE} {}", TWO.replace("PRIVATE", "EC PRIVATE")), BadPem::Unbegun(3)),
            (format!("{ONE} {}", TWO.replace("PRIVATE", "EC PRIVATE")), BadPem::Key(5)),
            (format!("{} {TWO}", ONE.trim_end()), BadPem::Key(4)),
        ] {
            assert_eq!(certificates(text.as_bytes()), Err(expected), "{text:?}");
        }
        for good in
            [ONE.to_owned(), ONE.replace("AwEC", "AwE="), ONE.replace("AwEC", "AwE"), format!("a PRIVATE KEY:\n{ONE}")]
        {
            assert!(blocks(good.as_bytes()).is_ok(), "{good:?}");
            // The edge's own parser would fail at the publication of a version with this certificate.
            let line = 1 + usize::from(good.starts_with('a'));
            assert_eq!(certificates(good.as_bytes()), Err(BadPem::Content(line)), "{good:?}");
        }
        assert_eq!(certificates(AUTHORITY.as_bytes()).as_deref(), Ok(AUTHORITY));
        let lines = AUTHORITY.lines().count();
        assert_eq!(certificates(format!("{AUTHORITY}{ONE}").as_bytes()), Err(BadPem::Content(lines + 1)));
        let cut: Vec<&str> = AUTHORITY.lines().enumerate().filter(|(at, _)| *at != 3).map(|(_, line)| line).collect();
        assert_eq!(certificates(cut.join("\n").as_bytes()), Err(BadPem::Content(1)));
        assert!(blocks(format!("{ONE}{TWO}").as_bytes()).is_ok());
    }

    #[test]
    fn a_key_that_a_password_opens_is_known_as_one() {
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n";
        for (text, expected) in
            [(TWO.replace("PRIVATE", "ENCRYPTED PRIVATE").as_str(), true), (legacy, true), (TWO, false), (ONE, false)]
        {
            assert_eq!(has_encrypted_key(text.as_bytes()), expected, "{text}");
        }
    }
}
