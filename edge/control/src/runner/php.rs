//! PHP-FPM as the main process of a backend: program, configuration, start command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml;
use devanture_config::site_toml::{Php, Scripts, Server};

use super::user_ini::UserIni;

/// Program names of distributions; the first on the `PATH` of instances is used.
const PROGRAMS: [&str; 6] = ["php-fpm", "php-fpm8.5", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1"];
/// Variable with the instance's own folder, the location of its configuration.
pub(super) const FOLDER_VARIABLE: &str = "DEVANTURE_PHP";
/// Variable with the configuration until written to a file: command lines are visible to all users, and a bundle's
/// session path may contain a password.
pub(super) const CONFIGURATION_VARIABLE: &str = "DEVANTURE_PHP_SETTINGS";
/// Writes the two files and executes PHP-FPM: only the instance may write to its folder. Applications create temporary
/// files there under any name, so the two files have a read-only folder. Settings come from the configuration only: PHP
/// would also read a `.user.ini` from folders writable by the application, and before the guard runs.
const START: &str = r#"own="$DEVANTURE_PHP/.php"
umask 077
mkdir "$own" && printf '%s' "$DEVANTURE_PHP_SETTINGS" > "$own/php-fpm.conf" || exit 1
printf '%s' "$2" > "$own/guard.php" && chmod 400 "$own/guard.php" "$own/php-fpm.conf" && chmod 500 "$own" || exit 1
unset DEVANTURE_PHP_SETTINGS
umask 007
mkdir -p "$3" || exit 1
[ -z "$4" ] || printf '%s\n' "$4" >&2
exec "$1" -F -O -d user_ini.filename= -d cgi.fix_pathinfo=0 -d fastcgi.logging=0 -d expose_php=0 \
  -y "$own/php-fpm.conf""#;
/// Refuses scripts outside the bundle, for example written by the app, also through links.
const GUARD: &str = r"<?php (static function (): void {
    $named = $_SERVER['SCRIPT_FILENAME'] ?? '';
    // `realpath` resolves an empty path to the working folder.
    $script = $named === '' ? false : realpath($named);
    $code = realpath(CODE);
    if ($script === false || $code === false || !str_starts_with($script, $code . '/')) {
        http_response_code(404);
        exit('not found');
    }
})();
";
/// Largest upload, unless changed by the bundle's `.user.ini`: beyond the limit PHP ignores the file, and beyond
/// [`POST_MAX`] the form.
const UPLOAD_MAX: &str = "64M";
const POST_MAX: &str = "65M";

/// Instance about to be started.
pub(super) struct Start<'s> {
    pub(super) php: &'s Php,
    /// Folder of the backend.
    pub(super) code: &'s Path,
    /// Persistent folder.
    pub(super) data: &'s Path,
    pub(super) socket: &'s Path,
    /// PHP settings of the bundle.
    pub(super) user_ini: &'s UserIni,
}

/// Returns the scripts of a backend in the folder `code`, if run by PHP-FPM.
pub(super) fn scripts(server: &Server, code: &Path) -> Option<Scripts> {
    Some(server.php.as_ref()?.scripts(code.to_str()?))
}

/// Finds the program: `php_fpm` of `[runner]`, or the first on the `PATH` of instances.
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
    /// Returns the command for a `program`.
    pub(super) fn command(&self, program: &Path) -> Vec<String> {
        let sessions = self.sessions();
        let words = ["/bin/sh", "-c", START, "php-fpm"].map(str::to_owned);
        let remarks = self.user_ini.remarks.join("\n");
        let given = [text(program), self.guard(), sessions, remarks];
        words.into_iter().chain(given).collect()
    }

    fn sessions(&self) -> String {
        text(&self.data.join(".sessions"))
    }

    fn guard(&self) -> String {
        let code = text(self.code).replace('\\', "\\\\").replace('\'', "\\'");
        GUARD.replace("CODE", &format!("'{code}'"))
    }

    /// Returns the configuration. Workers scale with the load; compiled scripts are shared and stay. PHP-FPM opens its
    /// log even if `-O` selects the error output.
    pub(super) fn configuration(&self) -> String {
        let (socket, workers, settings) = (text(self.socket), self.php.workers, self.settings());
        format!(
            "[global]\ndaemonize = no\nerror_log = /dev/null\nlog_level = warning\nlog_limit = 8192\n\
             [devanture]\nlisten = \"{socket}\"\nlisten.mode = 0660\n\
             pm = ondemand\npm.max_children = {workers}\npm.process_idle_timeout = 60s\n\
             clear_env = no\ncatch_workers_output = yes\ndecorate_workers_output = no\n\
             security.limit_extensions = .php\n\
             php_admin_value[auto_prepend_file] = \"${{{FOLDER_VARIABLE}}}/.php/guard.php\"\n\
             php_admin_value[upload_tmp_dir] = \"${{{FOLDER_VARIABLE}}}\"\n\
             php_admin_value[sys_temp_dir] = \"${{{FOLDER_VARIABLE}}}\"\n\
             php_admin_flag[log_errors] = on\n{settings}"
        )
    }

    /// Returns the settings changeable by the bundle or the application, each once, since PHP-FPM uses the first.
    fn settings(&self) -> String {
        let sessions = format!("\"{}\"", self.sessions());
        let own = [
            ("display_errors", "0"),
            ("post_max_size", POST_MAX),
            ("session.gc_divisor", "1000"),
            ("session.gc_probability", "1"),
            ("session.save_path", sessions.as_str()),
            ("upload_max_filesize", UPLOAD_MAX),
        ];
        let mut all = BTreeMap::from(own);
        all.extend(self.user_ini.settings.iter().map(|(name, value)| (*name, value.as_str())));
        let lines = all.iter().map(|(name, value)| format!("php_value[{name}] = {value}\n"));
        lines.collect::<Vec<_>>().concat()
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
        let user_ini = UserIni::read("public/.user.ini", "post_max_size = 9M\noutput_handler = system\n");
        let start = Start {
            user_ini: &user_ini,
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
            "php_value[post_max_size] = \"9M\"",
            "php_value[upload_max_filesize] = 64M",
            "php_admin_value[upload_tmp_dir] = \"${DEVANTURE_PHP}\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("output_handler") && text.matches("post_max_size").count() == 1, "{text}");
        let command = start.command(Path::new("/usr/sbin/php-fpm"));
        assert!(command.last().is_some_and(|remarks| remarks.contains("`output_handler`")), "{command:?}");
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
