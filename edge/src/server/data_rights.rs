//! Access of other users of the machine to the data folder: none, unless the modes were changed, for example by a copy,
//! an unpacked archive or a rescue as root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::stores::CATALOG_NAME;

/// Checked paths in the data folder: the records, and the folders and files of keys.
const KEPT: [&str; 9] = [
    CATALOG_NAME,
    "tls",
    "tls/ca.key",
    "tls/acme",
    "cluster",
    "cluster/ca.key",
    "cluster/node.key",
    "cluster/secrets.key",
    "cluster/tickets.key",
];
/// Mode bits of group and others that the edge never sets within [`KEPT`]: read access of a group is no fault, because
/// a group needs a deliberate choice.
const KEPT_CLOSED: u32 = 0o027;
/// The same for the data folder itself, through which instances may have to pass to a folder of the runner.
const FOLDER_CLOSED: u32 = 0o026;
/// Mode bits of write access.
const WRITE: u32 = 0o022;
/// Mode bits of others.
const OTHERS: u32 = 0o007;

/// A data folder with access for other users of the machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    /// The paths with their modes.
    pub(crate) found: String,
    /// The command that removes the access.
    pub(crate) command: String,
    /// True if other users may do more than list the data folder.
    pub(crate) is_grave: bool,
}

/// Checks the modes of a data folder; `None` without access of others, or if the user may not read the modes.
pub(crate) fn look(data_dir: &Path) -> Option<Exposed> {
    let folder = std::fs::metadata(data_dir).ok()?;
    // On a Kubernetes volume the folder belongs to root, and the edge has access by a group without other members.
    let by_group = folder.uid() != owner_of_edge(data_dir);
    let classes = if by_group { OTHERS } else { 0o777 };
    let folder_closed = if by_group { FOLDER_CLOSED & WRITE } else { FOLDER_CLOSED };
    let excess = |found: &Metadata, closed: u32| found.mode() & closed & classes;
    let kept = KEPT.iter().filter_map(|name| {
        let path = data_dir.join(name);
        // The mode of a link is meaningless; the mode of its target counts.
        let found = std::fs::metadata(&path).ok()?;
        (excess(&found, KEPT_CLOSED) != 0).then_some((path, found.mode()))
    });
    let kept: Vec<(PathBuf, u32)> = kept.collect();
    let is_folder_open = excess(&folder, folder_closed) != 0;
    if kept.is_empty() && !is_folder_open {
        return None;
    }
    let is_grave = !kept.is_empty() || excess(&folder, WRITE) != 0;
    let folder = is_folder_open.then(|| (data_dir.to_owned(), folder.mode()));
    let who = if by_group { "o" } else { "go" };
    let commands = [chmod(&format!("{who}-rw"), folder.as_slice()), chmod(&format!("{who}-rwx"), &kept)];
    let command = commands.into_iter().flatten().collect::<Vec<_>>().join(" && ");
    let named =
        folder.iter().chain(&kept).map(|(path, mode)| format!("{} has the mode {:04o}", path.display(), mode & 0o7777));
    let found = format!("open to other users of this machine: {}", named.collect::<Vec<_>>().join(", "));
    Some(Exposed { found, command, is_grave })
}

/// Warns of an open data folder, once per start.
pub(super) fn warn(data_dir: &Path) {
    if let Some(Exposed { found, command, .. }) = look(data_dir) {
        tracing::warn!(
            found,
            command,
            "other users of this machine may read or change the data folder: close it by `command`"
        );
    }
}

/// Returns the user of the edge: the owner of the records, or the current user without records.
fn owner_of_edge(data_dir: &Path) -> u32 {
    let own = || rustix::process::geteuid().as_raw();
    std::fs::metadata(data_dir.join(CATALOG_NAME)).map_or_else(|_| own(), |found| found.uid())
}

fn chmod(change: &str, of: &[(PathBuf, u32)]) -> Option<String> {
    let paths: Vec<String> = of.iter().map(|(path, _)| path.display().to_string()).collect();
    (!paths.is_empty()).then(|| format!("chmod {change} {}", paths.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_base::durable;
    use std::os::unix::fs::PermissionsExt as _;

    /// Creates a data folder as the edge does.
    fn made() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("data");
        for folder in ["", "tls", "cluster"] {
            durable::make_folder(&data.join(folder)).unwrap();
        }
        for (name, mode) in [(CATALOG_NAME, 0o600), ("tls/ca.key", 0o600), ("tls/ca.pem", 0o644)] {
            durable::write_file(&data.join(name), b"", mode).unwrap();
        }
        (parent, data)
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_data_folder_is_closed_as_it_is_made_and_where_instances_pass_it() {
        let (_parent, data) = made();
        assert_eq!(look(&data), None);
        assert_eq!(look(&data.join("none")), None);
        for mode in [0o710, 0o711, 0o750] {
            set(&data, mode);
            assert_eq!(look(&data), None, "{mode:o}");
        }
    }

    #[test]
    fn each_open_path_is_named_with_its_mode_and_the_command_that_closes_it() {
        let (_parent, data) = made();
        let shown = data.display();
        set(&data, 0o755);
        let listed = look(&data).unwrap();
        assert_eq!((listed.is_grave, listed.command), (false, format!("chmod go-rw {shown}")));
        assert!(listed.found.ends_with(&format!("{shown} has the mode 0755")), "{}", listed.found);
        for (name, mode) in
            [("", 0o770), ("tls", 0o711), ("tls/ca.key", 0o644), (CATALOG_NAME, 0o660), ("cluster", 0o705)]
        {
            set(&data, 0o700);
            let path = data.join(name);
            let closed = std::fs::metadata(&path).unwrap().mode();
            set(&path, mode);
            let found = look(&data).unwrap();
            assert!(found.is_grave && found.found.contains(&format!("has the mode {mode:04o}")), "{name}: {found:?}");
            set(&path, closed & 0o777);
            assert_eq!(look(&data), None, "{name}");
        }
        set(&data, 0o777);
        set(&data.join("tls"), 0o777);
        assert_eq!(look(&data).unwrap().command, format!("chmod go-rw {shown} && chmod go-rwx {shown}/tls"));
    }

    #[test]
    fn a_volume_that_the_edge_uses_by_its_group_is_closed_to_others_alone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_parent, data) = made();
        std::os::unix::fs::chown(data.join(CATALOG_NAME), Some(10_001), Some(10_001)).unwrap();
        set(&data, 0o2775);
        set(&data.join(CATALOG_NAME), 0o660);
        assert_eq!(look(&data), None);
        set(&data.join(CATALOG_NAME), 0o666);
        let command = look(&data).unwrap().command;
        assert_eq!(command, format!("chmod o-rwx {}/{CATALOG_NAME}", data.display()));
    }
}
