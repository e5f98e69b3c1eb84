//! `devanture-edge doctor` and `support-bundle`: examines an edge from outside, and packs information for remote
//! support.

use std::path::{Path, PathBuf};

use clap::Args;
use devanture_base::clock;
use devanture_base::durable;
use devanture_config::text::date_time;
use devanture_config::text::plain_text::escaped;
use devanture_edge::doctor::{self, Finding, Names, SupportOptions};

use crate::terminal::print_line;
use crate::{Configuration, Failure, base_of, read};

/// Mode of the bundle: readable only by the owner, who reviews the bundle before sending.
const BUNDLE_MODE: u32 = 0o600;

/// Flags of `doctor`.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `support-bundle`.
#[derive(Args)]
pub(crate) struct SupportArgs {
    /// File to write; by default named after the time, in the working folder
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// File with the log of the edge, whose last lines go along without tokens and queries
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Name apps and hostnames, which are counted otherwise
    #[arg(long)]
    with_names: bool,
}

/// Prints all findings, one per line, even if the configuration at `path` has errors.
pub(crate) async fn doctor(path: &Path, arguments: &DoctorArgs) -> Result<(), Failure> {
    let diagnosis = match read(path) {
        Ok(Configuration { file, base, .. }) => doctor::examine(&file, &base, Names::Shown).await,
        Err(error) => {
            let text = std::fs::read_to_string(path).ok();
            doctor::examine_unread(&error, text.as_deref(), base_of(path)).await
        }
    };
    if arguments.json {
        let whole = serde_json::json!({ "worst": diagnosis.worst(), "findings": diagnosis.findings });
        print_line(&whole.to_string());
    } else {
        diagnosis.findings.iter().map(Finding::line).for_each(|line| print_line(&escaped(&line)));
    }
    match diagnosis.exit_code() {
        0 => Ok(()),
        // The lines already tell the reason.
        code => Err(Failure { message: String::new(), code }),
    }
}

/// Writes the bundle, and prints its path.
pub(crate) async fn support_bundle(configuration: &Configuration, arguments: SupportArgs) -> Result<(), Failure> {
    let names = if arguments.with_names { Names::Shown } else { Names::Counted };
    let options = SupportOptions { log: arguments.log.as_deref(), names };
    let file = (&configuration.file, configuration.text.as_str());
    let bundle = doctor::support_bundle(file, &configuration.base, options).await;
    let bundle = bundle.map_err(|error| Failure::refused(&error))?;
    let path = arguments.output.unwrap_or_else(|| {
        let time: String = date_time(clock::now_ms()).chars().filter(char::is_ascii_digit).collect();
        format!("devanture-support-{time}.tar.gz").into()
    });
    durable::write_file(&path, &bundle, BUNDLE_MODE).map_err(|error| Failure::refused(&error))?;
    print_line(&escaped(&path.display().to_string()));
    Ok(())
}
