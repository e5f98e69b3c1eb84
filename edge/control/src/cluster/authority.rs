//! CA of the cluster: created once for all nodes, stored apart from the nodes, used when a node joins.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::error::Error;
use devanture_base::durable;

/// Certificate of the CA, stored with the CA and on each node.
pub const CA_FILE: &str = "ca.pem";
/// Key of the CA, stored on no node.
pub const CA_KEY_FILE: &str = "ca.key";
/// Certificate of a node.
pub const CERTIFICATE_FILE: &str = "node.pem";
/// Key of a node.
pub const KEY_FILE: &str = "node.key";

/// World-readable, for certificates.
const CERTIFICATE_MODE: u32 = 0o644;
/// Owner only, for keys.
const KEY_MODE: u32 = 0o600;
/// Validity of the CA.
const CA_VALID: Duration = Duration::days(3_650);
/// Validity of a node's certificate, renewed by another `join`; starts warn of the expiry.
const NODE_VALID: Duration = Duration::days(825);
/// Backdating of certificates, for nodes with a slow clock.
const BACKDATED: Duration = Duration::days(1);

/// Creates the CA of a new cluster in the folder `out`.
///
/// # Errors
/// [`Error::File`] for an existing CA; [`Error::Write`].
pub fn init(out: &Path) -> Result<(), Error> {
    for name in [CA_FILE, CA_KEY_FILE] {
        let path = out.join(name);
        if path.exists() {
            return Err(Error::file(&path, "there is a CA already; nodes that joined with it would not know another"));
        }
    }
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Devanture cluster CA");
    params.not_before = now - BACKDATED;
    params.not_after = now - BACKDATED + CA_VALID;
    // The CA signs certificates of nodes, but no further CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = |error: rcgen::Error| Error::file(out, error);
    let key = KeyPair::generate().map_err(made)?;
    let certificate = params.self_signed(&key).map_err(made)?;
    durable::make_folder(out)?;
    durable::write_file(&out.join(CA_KEY_FILE), key.serialize_pem().as_bytes(), KEY_MODE)?;
    durable::write_file(&out.join(CA_FILE), certificate.pem().as_bytes(), CERTIFICATE_MODE)?;
    Ok(())
}

/// Issues a certificate of the CA in `ca` for the node `node` at `address`, and writes the certificate, its key and the
/// CA's certificate into `folder`. Existing files are replaced, which renews the certificate.
///
/// # Errors
/// [`Error::File`], [`Error::Write`].
pub fn join(ca: &Path, folder: &Path, node: &str, address: IpAddr) -> Result<(), Error> {
    let (ca_path, key_path) = (ca.join(CA_FILE), ca.join(CA_KEY_FILE));
    let ca_pem = read(&ca_path)?;
    let ca_key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| Error::file(&key_path, error))?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key).map_err(|error| Error::file(&ca_path, error))?;
    let now = OffsetDateTime::now_utc();
    let made = |error: rcgen::Error| Error::file(folder, error);
    let mut params = CertificateParams::new(vec![node.to_owned()]).map_err(made)?;
    params.subject_alt_names.push(SanType::IpAddress(address));
    params.distinguished_name = named(node);
    params.not_before = now - BACKDATED;
    params.not_after = now - BACKDATED + NODE_VALID;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(made)?;
    let certificate = params.signed_by(&key, &issuer).map_err(made)?;
    durable::make_folder(folder)?;
    durable::write_file(&folder.join(KEY_FILE), key.serialize_pem().as_bytes(), KEY_MODE)?;
    durable::write_file(&folder.join(CERTIFICATE_FILE), certificate.pem().as_bytes(), CERTIFICATE_MODE)?;
    durable::write_file(&folder.join(CA_FILE), ca_pem.as_bytes(), CERTIFICATE_MODE)?;
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "Devanture");
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::file(path, error))
}
