//! PEM as people have it (RFC 7468 §2): blocks after a space or a byte order mark, and files that run into each other.
//!
//! Readers of PEM pass over a line whose `-----BEGIN` is not its very beginning, and over the whole block with it: an
//! authority is then not trusted, or an intermediate certificate is taken for that of the server. So each block is
//! found here, or the line is named that is no boundary of one.

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const BYTE_ORDER_MARK: char = '\u{feff}';
/// What an encrypted key says of itself: RFC 5958 §3, RFC 1421 §4.6.1.1.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

/// Says why a text is no PEM, as a clause about the file. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// A line holds a boundary that cannot be one.
    #[error("line {0} holds `-----BEGIN` or `-----END`, and is not such a line as a whole")]
    Boundary(usize),
    /// A form of certificates that OpenSSL alone reads.
    #[error("line {0} begins a TRUSTED CERTIFICATE, which `openssl x509 -in FILE` turns into a CERTIFICATE")]
    Trusted(usize),
    /// A block ends that did not begin.
    #[error("line {0} ends a block that did not begin")]
    Unbegun(usize),
    /// A block has no end.
    #[error("the block that begins in line {0} does not end")]
    Unended(usize),
}

/// The blocks of `pem` alone, with their boundaries as every reader of PEM knows them.
///
/// # Errors
/// [`BadPem`], for a boundary that a reader would pass over.
pub fn blocks(pem: &[u8]) -> Result<String, BadPem> {
    let text = String::from_utf8_lossy(pem).replace("\r\n", "\n").replace('\r', "\n");
    let (mut blocks, mut open) = (String::with_capacity(text.len()), None::<(&str, usize)>);
    for (line, number) in text.split('\n').zip(1_usize..) {
        let mut line = trimmed(line);
        // A file without a line break at its end runs into the next one: there may be a beginning after an end.
        while let Some((label, rest)) = line.strip_prefix(END).and_then(|rest| rest.split_once(DASHES)) {
            match open.take() {
                Some((begun, _)) if begun == label => add(&mut blocks, END, label),
                Some((_, at)) => return Err(BadPem::Unended(at)),
                None => return Err(BadPem::Unbegun(number)),
            }
            line = trimmed(rest);
        }
        let begun = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
        if let Some(label) = begun.filter(|label| !label.contains(DASHES)) {
            if let Some((_, at)) = open {
                return Err(BadPem::Unended(at));
            }
            if label == "TRUSTED CERTIFICATE" {
                return Err(BadPem::Trusted(number));
            }
            open = Some((label, number));
            add(&mut blocks, BEGIN, label);
        } else if line.starts_with('#') && open.is_none() {
            // A block that was taken out on purpose.
        } else if line.contains(BEGIN) || line.contains(END) {
            return Err(BadPem::Boundary(number));
        } else if open.is_some() {
            blocks.push_str(line);
            blocks.push('\n');
        }
    }
    match open {
        Some((_, at)) => Err(BadPem::Unended(at)),
        None => Ok(blocks),
    }
}

/// Whether `pem` holds a private key that only a password opens.
#[must_use]
pub fn has_encrypted_key(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    ENCRYPTED.iter().any(|mark| text.contains(mark))
}

fn trimmed(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK)
}

/// Adds a boundary. Certificates had other labels once (RFC 7468 §5.1).
fn add(blocks: &mut String, boundary: &str, label: &str) {
    let label = match label {
        "X509 CERTIFICATE" | "X.509 CERTIFICATE" => "CERTIFICATE",
        label => label,
    };
    for part in [boundary, label, DASHES, "\n"] {
        blocks.push_str(part);
    }
}

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
            (format!("\n{}", ONE.replace("-----END", "--END")), BadPem::Unended(2)),
            (ONE.replace("END CERTIFICATE", "END PRIVATE KEY"), BadPem::Unended(1)),
            (format!("{}{ONE}", &ONE[..33]), BadPem::Unended(1)),
            (format!("{ONE}\r\n\r\n{}", &ONE[28..]), BadPem::Unbegun(9)),
            (ONE.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), BadPem::Trusted(1)),
        ] {
            assert_eq!(blocks(text.as_bytes()), Err(expected), "{text:?}");
        }
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
