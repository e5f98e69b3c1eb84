//! `.user.ini` of a bundle, read by the edge instead of PHP.
//!
//! PHP would read such files from every folder between the root and a script, including files uploaded by visitors,
//! before running any code. PHP therefore reads none; permitted settings of the bundle's file, which cannot make PHP
//! read, include or run files, become part of its configuration.

use std::collections::BTreeMap;

use devanture_config::site_toml::Php;

/// Name of the file, in the folder of the front controller.
const NAME: &str = ".user.ini";
/// Longest file and longest value.
pub(super) const BYTES_MAX: u64 = 64 * 1024;
const VALUE_BYTES_MAX: usize = 256;
/// Most remarks on refused settings.
const REMARKS_MAX: usize = 16;

/// Permitted settings.
///
/// Excluded: names of files and folders, except the location of sessions; names of functions, for example
/// `output_handler`; `session.auto_start` and other settings that run code before the check of the script; settings
/// that affect the check, for example `variables_order`.
const TAKEN: &[&str] = &[
    "date.timezone",
    "default_charset",
    "default_mimetype",
    "default_socket_timeout",
    "display_errors",
    "display_startup_errors",
    "enable_post_data_reading",
    "error_reporting",
    "html_errors",
    "ignore_repeated_errors",
    "ignore_repeated_source",
    "ignore_user_abort",
    "implicit_flush",
    "intl.default_locale",
    "max_execution_time",
    "max_file_uploads",
    "max_input_nesting_level",
    "max_input_time",
    "max_input_vars",
    "max_multipart_body_parts",
    "mbstring.language",
    "memory_limit",
    "output_buffering",
    "pcre.backtrack_limit",
    "pcre.jit",
    "pcre.recursion_limit",
    "post_max_size",
    "precision",
    "request_order",
    "serialize_precision",
    "session.cache_expire",
    "session.cache_limiter",
    "session.cookie_domain",
    "session.cookie_httponly",
    "session.cookie_lifetime",
    "session.cookie_path",
    "session.cookie_samesite",
    "session.cookie_secure",
    "session.gc_divisor",
    "session.gc_maxlifetime",
    "session.gc_probability",
    "session.lazy_write",
    "session.name",
    "session.referer_check",
    "session.save_handler",
    "session.save_path",
    "session.sid_bits_per_character",
    "session.sid_length",
    "session.upload_progress.cleanup",
    "session.upload_progress.enabled",
    "session.upload_progress.freq",
    "session.upload_progress.min_freq",
    "session.upload_progress.name",
    "session.upload_progress.prefix",
    "session.use_cookies",
    "session.use_only_cookies",
    "session.use_strict_mode",
    "session.use_trans_sid",
    "short_open_tag",
    "upload_max_filesize",
    "zlib.output_compression",
    "zlib.output_compression_level",
];

/// PHP settings of a bundle, and remarks on refused settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UserIni {
    /// Names and values in the syntax of PHP-FPM's configuration.
    pub(super) settings: BTreeMap<&'static str, String>,
    /// Lines for the log of each instance.
    pub(super) remarks: Vec<String>,
}

/// Returns the path of the file below the backend's folder.
pub(super) fn path(php: &Php) -> String {
    let below = php.index.rsplit_once('/').map(|(folder, _)| folder);
    let folders = [Some(php.root.as_str()).filter(|root| *root != "."), below].into_iter().flatten();
    folders.chain([NAME]).collect::<Vec<_>>().join("/")
}

impl UserIni {
    /// Returns the result for an overlong file.
    pub(super) fn too_long(path: &str) -> Self {
        let remark = format!("{path} is longer than {BYTES_MAX} bytes: PHP gets none of its settings");
        Self { settings: BTreeMap::new(), remarks: vec![remark] }
    }

    /// Reads the file at `path`; the last of repeated settings applies.
    pub(super) fn read(path: &str, text: &str) -> Self {
        let mut read = Self::default();
        // Settings after `[HOST=…]` or `[PATH=…]` do not apply to every request.
        let mut is_for_all = true;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                let section = section.trim_start().to_ascii_uppercase();
                is_for_all = !section.starts_with("HOST") && !section.starts_with("PATH");
                continue;
            }
            let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name.trim(), Some(value)));
            let taken = TAKEN.iter().find(|taken| **taken == name && is_for_all);
            match taken.and_then(|taken| Some((*taken, written(taken, value?)?))) {
                Some((name, value)) => drop(read.settings.insert(name, value)),
                None => read.remark(path, number, name),
            }
        }
        read
    }

    fn remark(&mut self, path: &str, number: usize, name: &str) {
        let is_name =
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let what = if is_name { format!("`{name}`") } else { "it".to_owned() };
        match self.remarks.len() {
            ..REMARKS_MAX => {
                self.remarks.push(format!("{path}, line {number}: {what} is no setting that PHP gets from it"));
            }
            REMARKS_MAX => self.remarks.push(format!("{path}: there are more of them")),
            _ => {}
        }
    }
}

/// Formats a value for PHP-FPM's configuration; `None` for values with another meaning there.
fn written(name: &str, value: &str) -> Option<String> {
    let value = value.trim();
    let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.split_once(quote));
    let (value, rest) = unquoted.unwrap_or_else(|| (value.split(';').next().unwrap_or_default().trim_end(), ""));
    let is_at_end = rest.trim_start().is_empty() || rest.trim_start().starts_with(';');
    let is_plain = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && !b"\"\\$".contains(&byte);
    if !is_at_end || value.len() > VALUE_BYTES_MAX || !value.bytes().all(is_plain) {
        return None;
    }
    // Quoted, the constants would be plain text.
    let is_level = name == "error_reporting" && value.split(['&', '|']).all(is_level);
    Some(if is_level { value.to_owned() } else { format!("\"{value}\"") })
}

/// Returns true for an error level, or its negation.
fn is_level(text: &str) -> bool {
    let text = text.trim();
    let name = text.strip_prefix('~').unwrap_or(text).strip_prefix("E_");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    is_number(text) || name.is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn php_gets_what_is_harmless_and_a_remark_says_what_it_does_not_get() {
        let text = "; limits\r\n[PHP]\nmemory_limit = 77M ; enough\nupload_max_filesize=\"1G\"\nmemory_limit=78M\n\
            error_reporting = E_ALL & ~E_DEPRECATED\nsession.save_path = 'tcp://10.0.0.1:6379?a=b;c'\n\
            auto_append_file = uploads/photo.jpg\noutput_handler=system\ninclude_path=.\nMemory_Limit=1\n\u{1b}[31m=1\n\
            [PATH=/srv]\nprecision = 3\n";
        let ini = UserIni::read("public/.user.ini", text);
        let settings: Vec<(&str, &str)> = ini.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            settings,
            [
                ("error_reporting", "E_ALL & ~E_DEPRECATED"),
                ("memory_limit", "\"78M\""),
                ("session.save_path", "\"tcp://10.0.0.1:6379?a=b;c\""),
                ("upload_max_filesize", "\"1G\""),
            ]
        );
        let remark =
            |line: u8, what: &str| format!("public/.user.ini, line {line}: {what} is no setting that PHP gets from it");
        let names =
            [(8, "`auto_append_file`"), (9, "`output_handler`"), (10, "`include_path`"), (11, "`Memory_Limit`")];
        let names = names.into_iter().chain([(12, "it"), (14, "`precision`")]);
        assert_eq!(ini.remarks, names.map(|(line, what)| remark(line, what)).collect::<Vec<_>>());
        assert_eq!(UserIni::read("a", &"x=1\n".repeat(1_000)).remarks.len(), REMARKS_MAX + 1);
    }

    #[test]
    fn no_value_means_more_than_itself() {
        for (value, expected) in [
            ("On", Some("\"On\"")),
            ("", Some("\"\"")),
            ("\"a;b\" ; c", Some("\"a;b\"")),
            ("'a\"\nphp_admin_value[auto_prepend_file] = \"x'", None),
            ("\"a\"b", None),
            ("a\"b", None),
            ("${HOME}", None),
            ("a\\", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(written("session.name", value).as_deref(), expected, "{value}");
        }
        for (value, is_bare) in [
            ("E_ALL", true),
            ("E_ALL&~E_NOTICE", true),
            ("32767", true),
            ("E_ALL & ~", false),
            ("PHP_OS", false),
            ("~1", false),
        ] {
            assert_eq!(written("error_reporting", value).unwrap().starts_with('"'), !is_bare, "{value}");
        }
        assert!(written("session.name", &"a".repeat(VALUE_BYTES_MAX + 1)).is_none());
    }

    #[test]
    fn the_file_lies_beside_the_front_controller() {
        for (root, index, expected) in [
            ("public", "index.php", "public/.user.ini"),
            (".", "index.php", ".user.ini"),
            ("web", "app/front.php", "web/app/.user.ini"),
            (".", "app/front.php", "app/.user.ini"),
        ] {
            assert_eq!(path(&Php { root: root.to_owned(), index: index.to_owned(), workers: 1 }), expected);
        }
    }
}
