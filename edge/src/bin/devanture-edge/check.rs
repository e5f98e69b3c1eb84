//! `devanture-edge check`: every mistake of the configuration, what a firewall has to let through, and what is stored.

use std::path::Path;

use devanture_config::edge_toml::EdgeFile;
use devanture_edge::server;

use crate::terminal::{print_line, say};
use crate::{Failure, runtime};

/// Reports on the configuration at `path`, whose relative paths begin at `base`.
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
    // What files and the stored state lack is no mistake of this file.
    let warnings = server::warnings(file, base);
    for found in warnings.into_iter().chain(runtime()?.block_on(server::check_stored(file, base))) {
        say(&found);
    }
    Ok(())
}
