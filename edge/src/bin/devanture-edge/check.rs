//! `devanture-edge check`: reports all errors of the configuration, the ports for a firewall, and the stored state.

use std::path::Path;

use devanture_config::edge_toml::EdgeFile;
use devanture_edge::server;

use crate::terminal::{print_line, say};
use crate::{Failure, runtime};

/// Checks the configuration at `path`, whose relative paths begin at `base`.
pub(crate) fn check(file: &EdgeFile, base: &Path, path: &Path) -> Result<(), Failure> {
    let faults = server::check(file, base);
    if let Some(first) = faults.first() {
        let message = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        return Err(Failure { message, code: first.exit_code() });
    }
    print_line(&format!("{} is fine", path.display()));
    let ports = server::ports(file);
    if !ports.is_empty() {
        print_line("A firewall has to let through:");
        ports.iter().for_each(|port| print_line(&format!("  {port}")));
    }
    // Missing files and missing stored state are no errors of the configuration file.
    let warnings = server::warnings(file, base);
    for found in warnings.into_iter().chain(runtime()?.block_on(server::check_stored(file, base))) {
        say(&found);
    }
    Ok(())
}
