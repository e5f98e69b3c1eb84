//! Conversions between values of the API and values of records.
//!
//! Only this folder and `words.rs` name types of the API with a form that may change with the API. Every conversion
//! destructures its value: a new member of the API is a compile error here, and the fix decides if the record stores
//! the member.

mod deploys;
mod environments;
mod logs;
mod schedules;
mod webhooks;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Types of the API in records: names and numbers that are checked when read, and written unchanged.
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
