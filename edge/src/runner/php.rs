//! PHP-FPM as the main process of a backend: its program, its configuration and the command that starts it.

use std::path::{Path, PathBuf};

use devanture_config::edge_toml;
use devanture_config::site_toml::{Php, Scripts, Server};

/// Names that distributions give the program, of which the first one on the `PATH` of instances is taken.
const PROGRAMS: [&str; 6] = ["php-fpm", "php-fpm8.5", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1"];
/// The variable that names the instance's own folder, where its configuration is.
pub(super) const FOLDER_VARIABLE: &str = "DEVANTURE_PHP";
/// Writes the two files and becomes PHP-FPM: only the instance itself can write to its own folder.
const START: &str = r#"umask 007
printf '%s' "$2" > "$DEVANTURE_PHP/php-fpm.conf" && printf '%s' "$3" > "$DEVANTURE_PHP/guard.php" || exit 1
mkdir -p "$4" || exit 1
exec "$1" -F -O -d cgi.fix_pathinfo=0 -d fastcgi.logging=0 -d expose_php=0 -y "$DEVANTURE_PHP/php-fpm.conf""#;
/// Refuses a script that is none of the bundle: one that the app has written, through a link or not.
const GUARD: &str = r"<?php (static function (): void {
    $script = realpath($_SERVER['SCRIPT_FILENAME'] ?? '');
    $code = realpath(CODE);
    if ($script === false || $code === false || !str_starts_with($script, $code . '/')) {
        http_response_code(404);
        exit('not found');
    }
})();
";
/// Largest upload, where a `.user.ini` says no other: beyond it PHP ignores the file, and beyond [`POST_MAX`] the form.
const UPLOAD_MAX: &str = "64M";
const POST_MAX: &str = "65M";

/// An instance that is about to be started.
pub(super) struct Start<'s> {
    pub(super) php: &'s Php,
    /// The folder of the backend.
    pub(super) code: &'s Path,
    /// The folder that stays.
    pub(super) data: &'s Path,
    pub(super) socket: &'s Path,
}

/// The scripts of a backend whose folder is at `code`, if PHP-FPM runs it.
pub(super) fn scripts(server: &Server, code: &Path) -> Option<Scripts> {
    Some(server.php.as_ref()?.scripts(code.to_str()?))
}

/// Finds the program: `php_fpm` of `[runner]`, or one on the `PATH` of instances.
pub(super) fn program(settings: &edge_toml::Runner) -> Result<PathBuf, String> {
    if let Some(program) = &settings.php_fpm {
        let missing = || format!("`php_fpm` of [runner] in edge.toml is {}, which is no file", program.display());
        return if program.is_file() { Ok(program.clone()) } else { Err(missing()) };
    }
    let folders = settings.path.split(':').map(Path::new);
    let mut found = PROGRAMS.iter().flat_map(|name| folders.clone().map(move |folder| folder.join(name)));
    found.find(|path| path.is_file()).ok_or_else(|| {
        "this edge has no php-fpm: install it (Debian: `apt install php-fpm`) or name it by `php_fpm` of [runner] in edge.toml".to_owned()
    })
}

impl Start<'_> {
    /// The command, where the program is at `program`.
    pub(super) fn command(&self, program: &Path) -> Vec<String> {
        let sessions = self.sessions();
        let words = ["/bin/sh", "-c", START, "php-fpm"].map(str::to_owned);
        let given = [text(program), self.configuration(), self.guard(), sessions];
        words.into_iter().chain(given).collect()
    }

    fn sessions(&self) -> String {
        text(&self.data.join(".sessions"))
    }

    fn guard(&self) -> String {
        let code = text(self.code).replace('\\', "\\\\").replace('\'', "\\'");
        GUARD.replace("CODE", &format!("'{code}'"))
    }

    /// Workers come with the load and go again: what they have compiled is shared, and stays. PHP-FPM opens its log
    /// also where `-O` has it write to its error output.
    fn configuration(&self) -> String {
        let (socket, sessions) = (text(self.socket), self.sessions());
        let workers = self.php.workers;
        format!(
            "[global]\ndaemonize = no\nerror_log = /dev/null\nlog_level = warning\nlog_limit = 8192\n\
             [devanture]\nlisten = \"{socket}\"\nlisten.mode = 0660\n\
             pm = ondemand\npm.max_children = {workers}\npm.process_idle_timeout = 60s\n\
             clear_env = no\ncatch_workers_output = yes\ndecorate_workers_output = no\n\
             security.limit_extensions = .php\n\
             php_admin_value[auto_prepend_file] = \"${{{FOLDER_VARIABLE}}}/guard.php\"\n\
             php_admin_value[upload_tmp_dir] = \"${{{FOLDER_VARIABLE}}}\"\n\
             php_admin_value[sys_temp_dir] = \"${{{FOLDER_VARIABLE}}}\"\n\
             php_admin_flag[log_errors] = on\nphp_flag[display_errors] = off\n\
             php_value[session.save_path] = \"{sessions}\"\n\
             php_value[session.gc_probability] = 1\nphp_value[session.gc_divisor] = 1000\n\
             php_value[upload_max_filesize] = {UPLOAD_MAX}\nphp_value[post_max_size] = {POST_MAX}\n"
        )
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_names_the_folder_of_the_code_whatever_is_in_its_name() {
        let php = Php { root: "public".to_owned(), index: "index.php".to_owned(), workers: 3 };
        let start = Start {
            php: &php,
            code: Path::new(r"/srv/it's\code"),
            data: Path::new("/srv/data"),
            socket: Path::new("/srv/s"),
        };
        assert!(start.guard().contains(r"realpath('/srv/it\'s\\code')"), "{}", start.guard());
        let text = start.configuration();
        for line in [
            "listen = \"/srv/s\"",
            "pm.max_children = 3",
            "security.limit_extensions = .php",
            "php_value[session.save_path] = \"/srv/data/.sessions\"",
            "php_admin_value[upload_tmp_dir] = \"${DEVANTURE_PHP}\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test makes the files of a machine")]
    fn an_edge_without_php_says_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let settings = |php_fpm| edge_toml::Runner { path: path.clone(), php_fpm, ..edge_toml::Runner::default() };
        assert!(program(&settings(None)).unwrap_err().contains("install"));
        let named = folder.path().join("mine");
        assert!(program(&settings(Some(named.clone()))).unwrap_err().contains("no file"));
        for file in ["php-fpm8.2", "mine"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(program(&settings(None)).unwrap(), folder.path().join("php-fpm8.2"));
        assert_eq!(program(&settings(Some(named.clone()))).unwrap(), named);
    }
}
