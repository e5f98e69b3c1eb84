//! Signatures of a push: made here, from the id computed by this program, before any answer of the edge.

use std::sync::Arc;
use std::time::Instant;

use devanture_config::problem::Code;
use devanture_config::signing::SignatureText;
use devanture_config::{AppName, Manifest};

use super::Push;
use crate::edge::signing::{SigningKey, sign_all};
use crate::output::exit::Failure;

/// The way to sign a version with an id that is not known here.
const LATER: &str =
    "push with --no-switch, sign the version with `devanture sign`, then make it live by `devanture switch`";

impl Push<'_> {
    /// Reads the named keys, before any request.
    pub(super) async fn read_keys(&mut self, is_archive: bool) -> Result<(), Failure> {
        let why = match (self.args.sign.is_empty(), is_archive, self.args.half.only.is_some()) {
            (true, _, _) => return Ok(()),
            (false, true, _) => "only the edge unpacks archives",
            (false, false, true) => "with --only the edge alone knows the other half",
            (false, false, false) => {
                self.keys = SigningKey::read_all(&self.args.sign).await?;
                return Ok(());
            }
        };
        Err(Failure::new(Code::Usage, format!("--sign signs the id of the version, and {why}.")).hint(LATER))
    }

    /// The signatures of a version.
    pub(super) async fn signatures(
        &mut self,
        app: &AppName,
        manifest: &Manifest,
    ) -> Result<Vec<SignatureText>, Failure> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(image) = manifest.image().filter(|image| !image.is_fixed()) {
            let message =
                format!("--sign signs the id of the version, and the edge finds what the tag of {image} leads to.");
            return Err(
                Failure::new(Code::Usage, message).hint("write the digest of the image in the place of its tag")
            );
        }
        let (start, version) = (Instant::now(), manifest.id());
        let signed = sign_all(Arc::clone(&self.keys), app.clone(), version).await?;
        let names: Vec<String> = self.keys.iter().map(|key| key.public().named()).collect();
        self.done("sign", format!("{} by {}", version.short(), names.join(", ")), start);
        Ok(signed)
    }
}
