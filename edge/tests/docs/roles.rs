//! The table of roles in the documents matches the code.

use std::fmt::Write as _;

use devanture_config::api::{Role, RolePlace};

use super::hold;

#[test]
fn the_roles_are_in_the_table_of_the_documents() {
    let mut table = "| role | scope | place | what it is for |\n|---|---|---|---|\n".to_owned();
    for role in Role::ALL {
        let place = match role.place() {
            RolePlace::App => "the app",
            RolePlace::Environment => "`preview`, or the environment that is named",
            RolePlace::Edge => "every app",
        };
        writeln!(table, "| {role} | `{}` | {place} | {} |", role.scope(), role.purpose()).unwrap();
    }
    hold("docs/access.md", "roles", &table);
}
