//! Conversions between values of the API and what records hold of them.
//!
//! This folder and `words.rs` alone name types of the API whose form may change with the API. Every conversion takes
//! its value apart member by member: a member that the API gets is a compile error here, where it is decided whether
//! the disk has it.

mod deploys;
mod environments;
mod logs;
mod schedules;
mod webhooks;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Types of the API that stand in records: names and numbers that are checked as they are read, and written as they
    /// were.
    const FORMS: [&str; 5] = ["AccountName", "CookieName", "Percent", "SettingName", "WebhookName"];

    #[test]
    fn records_name_no_type_of_the_api_that_changes_with_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/records");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.ends_with("words.rs") {
                continue;
            }
            let code = std::fs::read_to_string(&path).unwrap();
            for used in code.split("devanture_config::api").skip(1) {
                let (used, _) = used.trim_start_matches("::").split_once(';').unwrap();
                let names = used.split(|c: char| !c.is_ascii_alphanumeric()).filter(|name| !name.is_empty());
                for name in names {
                    assert!(FORMS.contains(&name), "{} names the type {name} of the API", path.display());
                }
            }
        }
    }
}
