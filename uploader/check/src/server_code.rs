//! Server code among the pages, readable by every visitor.
//!
//! Detected by the forms of providers' functions, and by languages without support in browsers in the folders of such
//! functions. Programs for browsers have none of these forms.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// Upper bound of the size of analyzed files: larger output of a bundler is for browsers.
const BYTES_MAX: usize = 512 * 1024;
/// Endings of programs in JavaScript and TypeScript.
const SCRIPTS: [&str; 8] = [".cjs", ".cts", ".js", ".jsx", ".mjs", ".mts", ".ts", ".tsx"];
/// Suffixes of programs that no browser runs.
const PROGRAMS: [&str; 8] = [".cs", ".cts", ".go", ".java", ".mts", ".py", ".rb", ".ts"];
/// Top-level folders of functions.
const FOLDERS: [&str; 4] = ["api/", "functions/", "lambda/", "netlify/"];

/// The forms of functions: of Vercel, of Cloudflare's Pages and Workers, of Netlify and AWS, and of Firebase.
static FORMS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // The parameters of a function, after `(`; a type may follow the first.
    let (request, response) = (r"\(\s*(?:req|request)\s*(?::[^,)]{1,80})?", r",\s*(?:res|response)\b");
    let function = format!(r"(?:async\s*)?(?:function\s*\w*\s*)?{request}{response}");
    let forms = [
        r"export\s+default\s+(?:async\s+)?function\s+handler\b".to_owned(),
        format!(r"export\s+default\s+{function}"),
        format!(r"(?:module\.)?exports(?:\.default)?\s*=\s*{function}"),
        r"export\s+(?:async\s+function|function|const)\s+(?:handler|onRequest[A-Za-z]{0,7})\b".to_owned(),
        r"export\s+default\s*\{\s*(?:async\s+)?fetch\s*\(".to_owned(),
        r"exports\.handler\s*=".to_owned(),
        format!(r#"[^\n]{{0,100}}(?:require\(\s*|from\s+)["'](?:{PACKAGES})\b"#),
    ];
    Regex::new(&format!(r"(?m-u)^\s*(?:{})", forms.join("|"))).ok()
});
/// Packages for the code of functions.
const PACKAGES: &str = "firebase-functions|@netlify/functions|@vercel/node";

/// Returns the offset at which server code begins in the file at `path` of the bundle.
pub(super) fn find(path: &str, bytes: &[u8]) -> Option<usize> {
    let lower = path.to_ascii_lowercase();
    let has_ending = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    if has_ending(&PROGRAMS) && FOLDERS.iter().any(|folder| lower.starts_with(folder)) && !lower.ends_with(".d.ts") {
        return Some(0);
    }
    if !has_ending(&SCRIPTS) || bytes.len() > BYTES_MAX {
        return None;
    }
    let found = FORMS.as_ref()?.find(bytes)?;
    // The match includes the blank lines before the code.
    let blank = found.as_bytes().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    Some(found.start() + blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_a_server_is_known_by_its_form() {
        for (path, text, at) in [
            ("pay.js", "const k = 1;\n\nexport default async function handler(req, res) {}", Some(14)),
            ("api/pay.js", "module.exports = (req, res) => res.end(process.env.KEY)", Some(0)),
            ("api/pay.ts", "anything", Some(0)),
            ("api/pay.ts", "import type { VercelRequest } from '@vercel/node'", Some(0)),
            ("pay.mjs", "export default (req, res) => {}", Some(0)),
            ("pay.tsx", "export default function pay(request: Request, response: Response) {}", Some(0)),
            ("functions/hello.js", "export async function onRequestPost(context) {}", Some(0)),
            ("functions/hello.js", "export const onRequest = () => {}", Some(0)),
            ("worker.js", "export default {\n  async fetch(request, env) {} }", Some(0)),
            ("hello.js", "exports.handler = async (event) => {}", Some(0)),
            ("index.js", "const functions = require(\"firebase-functions\");", Some(0)),
            ("lambda/a.py", "def handler(event, context): ...", Some(0)),
            ("API/a.GO", "package a", Some(0)),
            // Programs for browsers, and text published to be read.
            ("app.js", "export default function App() { return handler(request, response) }", None),
            ("app.js", "if (process.env.NODE_ENV) { module.exports = factory(require('fs')) }", None),
            ("sw.js", "self.addEventListener('fetch', (event) => event.respondWith(fetch(event.request)))", None),
            ("api/index.html", "export default async function handler(req, res) {}", None),
            ("api/scripts/prettify.js", "var PR = {};", None),
            ("functions/index.d.ts", "export declare function a(): void", None),
            ("examples/a.py", "print()", None),
            ("doc.txt", "exports.handler = 1", None),
        ] {
            assert_eq!(find(path, text.as_bytes()), at, "{path}: {text}");
        }
        let bundled = format!("exports.handler = 1;{}", " ".repeat(BYTES_MAX));
        assert_eq!(find("a.js", bundled.as_bytes()), None);
    }
}
