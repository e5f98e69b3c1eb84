//! `devanture-edge authority`: prints the certificate of the local authority, for clients that have to trust the
//! authority.

use devanture_edge::server;

use crate::terminal::print_line;
use crate::{Configuration, Failure};

/// Prints the certificate in PEM.
pub(crate) fn authority(configuration: &Configuration) -> Result<(), Failure> {
    match server::authority(&configuration.file, &configuration.base)? {
        Some(pem) => {
            print_line(pem.trim_end());
            Ok(())
        }
        None => Err(Failure {
            message: "there is no local authority: `mode = \"files\"` below [tls] in edge.toml has certificates of \
                      another one"
                .to_owned(),
            code: 1,
        }),
    }
}
