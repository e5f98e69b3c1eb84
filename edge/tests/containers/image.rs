//! Images built by the tests, each with one static program.

use std::process::Command;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::Digest;
use devanture_config::manifest::{ServerFile, ServerFolder};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::support::podman::{PASSWORD, USER};

/// Server that answers by the request path, and writes lines.
const PROGRAM: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
extern char **environ;
static void ends(int number) { (void)number; _exit(0); }
static int listens(void) {
  const char *path = getenv("SOCKET");
  int yes = 1;
  if (path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    umask(0);
    return bind(s, (void *)&at, sizeof at) || listen(s, 64) ? -1 : s;
  }
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("PORT")))};
  int s = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  return bind(s, (void *)&at, sizeof at) || listen(s, 64) ? -1 : s;
}
int main(int count, char **words) {
  signal(SIGTERM, ends);
  signal(SIGPIPE, SIG_IGN);
  printf("begins %s as %d\n", count > 1 ? words[1] : "-", getuid());
  fflush(stdout);
  fprintf(stderr, "an error of %s\n", getenv("DEVANTURE_INSTANCE"));
  if (count > 1 && !strcmp(words[1], "fails")) return 3;
  if (count > 1 && !strcmp(words[1], "ends")) return 0;
  int server = listens();
  if (server < 0) return 4;
  for (;;) {
    char in[8192], out[70000] = "";
    int c = accept(server, 0, 0), length = read(c, in, sizeof in - 1);
    if (length <= 0) { close(c); continue; }
    in[length] = 0;
    char *path = strchr(in, '/'), *end = strchr(in, ' ') ? strchr(path, ' ') : 0, *mine = strchr(path, '?');
    if (end) *end = 0;
    if (!strncmp(path, "/api/die", 8)) exit(7);
    if (!strncmp(path, "/api/read", 9) && mine) {
      int file = open(mine + 1, O_RDONLY), got = file < 0 ? -1 : read(file, out, sizeof out - 1);
      if (got < 0) snprintf(out, sizeof out, "error %s", strerror(errno));
    } else if (!strncmp(path, "/api/write", 10) && mine) {
      int file = open(mine + 1, O_WRONLY | O_CREAT, 0600);
      snprintf(out, sizeof out, "%s", file < 0 || write(file, "kept", 4) != 4 ? strerror(errno) : "written");
    } else if (!strncmp(path, "/api/env", 8)) {
      for (char **one = environ; *one; one++) { strncat(out, *one, 4000); strcat(out, "\n"); }
    } else if (!strncmp(path, "/api/terminals", 14)) {
      int opened = 0;
      while (open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0) opened++;
      snprintf(out, sizeof out, "%d", opened);
    } else {
      snprintf(out, sizeof out, "%s %d %s", count > 1 ? words[1] : "-", getuid(), getenv("DEVANTURE_INSTANCE"));
    }
    char head[200];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n", strlen(out));
    if (write(c, head, n) == n && write(c, out, strlen(out)) >= 0) shutdown(c, SHUT_WR);
    close(c);
  }
}
"#;

/// Program, compiled once for all tests of a process.
static COMPILED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("program.c"), folder.path().join("program"));
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled = Command::new("cc").args(["-static", "-O1", "-w", "-o"]).args([&program, &source]).status().unwrap();
    assert!(compiled.success());
    std::fs::read(program).unwrap()
});

/// Image: blobs by digest; the last blob is the manifest.
pub(crate) struct Image {
    blobs: Vec<(String, Vec<u8>)>,
    media_type: &'static str,
}

/// OCI archive.
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
}

fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    format!("sha256:{}", hex::encode(digest.as_ref()))
}

fn own_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, path, bytes).unwrap();
}

impl Image {
    /// Image that starts the program with `word`, with additional `config`.
    pub(crate) fn new(word: &str, config: &Value) -> Self {
        Self::of_architecture(own_architecture(), word, config)
    }

    /// Image for the given processor architecture.
    pub(crate) fn of_architecture(architecture: &str, word: &str, config: &Value) -> Self {
        Self::made(architecture, (word, config), |_| {})
    }

    /// Image with a named pipe at a path.
    pub(crate) fn with_pipe(word: &str, path: &str) -> Self {
        Self::made(own_architecture(), (word, &json!({})), |layer| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Fifo);
            header.set_size(0);
            header.set_mode(0o644);
            layer.append_data(&mut header, path, std::io::empty()).unwrap();
        })
    }

    fn made(architecture: &str, (word, config): (&str, &Value), more: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Self {
        let mut layer = tar::Builder::new(Vec::new());
        append(&mut layer, "program", &COMPILED, 0o755);
        append(&mut layer, "word", word.as_bytes(), 0o644);
        more(&mut layer);
        let layer = layer.into_inner().unwrap();
        let mut settings = json!({ "Entrypoint": ["/program"], "Cmd": [word], "Env": ["PATH=/of-the-image"] });
        settings.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": settings, "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] }
        });
        let config = config.to_string().into_bytes();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len() },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&layer), "size": layer.len() }]
        });
        let blobs = [layer, config, manifest.to_string().into_bytes()];
        Self { blobs: blobs.map(|blob| (digest(&blob), blob)).into(), media_type }
    }

    /// Digest of the manifest.
    pub(crate) fn digest(&self) -> &str {
        &self.blobs.last().unwrap().0
    }

    /// Uploads the image to a registry.
    pub(crate) async fn put(&self, repository: &str, tag: &str) {
        // An open registry ignores the credentials.
        let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let fields = HeaderMap::from_iter([(header::AUTHORIZATION, format!("Basic {pair}").parse().unwrap())]);
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let client = reqwest::Client::builder().default_headers(fields).build().unwrap();
        let (manifest, blobs) = self.blobs.split_last().unwrap();
        for (digest, blob) in blobs {
            let begun = client.post(format!("{repository}/blobs/uploads/")).send().await.unwrap();
            let place = begun.headers()["location"].to_str().unwrap().to_owned();
            let mark = if place.contains('?') { '&' } else { '?' };
            let put = client.put(format!("{place}{mark}digest={digest}")).body(blob.clone()).send().await.unwrap();
            assert!(put.status().is_success(), "{}", put.status());
        }
        let put = client.put(format!("{repository}/manifests/{tag}")).header("content-type", self.media_type);
        let put = put.body(manifest.1.clone()).send().await.unwrap();
        assert!(put.status().is_success(), "{}", put.status());
    }

    /// Archive whose layer has other bytes, or is missing, under the original digest.
    pub(crate) fn archive_with_layer(&self, bytes: Option<&[u8]>) -> Archive {
        let ((layer, _), rest) = self.blobs.split_first().unwrap();
        let changed = bytes.map(|bytes| (layer.clone(), bytes.to_vec()));
        let blobs = changed.into_iter().chain(rest.iter().cloned()).collect();
        Self { blobs, media_type: self.media_type }.archive("mine")
    }

    /// Archive that claims `name`.
    pub(crate) fn archive(&self, name: &str) -> Archive {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
        for (digest, blob) in &self.blobs {
            append(&mut tar, &format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), blob, 0o644);
        }
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": self.media_type, "digest": self.digest(), "size": self.blobs.last().unwrap().1.len(),
            "annotations": { "org.opencontainers.image.ref.name": name }
        }] });
        append(&mut tar, "index.json", index.to_string().as_bytes(), 0o644);
        Archive { bytes: tar.into_inner().unwrap() }
    }
}

impl Archive {
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Server folder of a bundle with the archive.
    pub(crate) fn folder(&self) -> ServerFolder {
        let file = ServerFile { hash: self.digest(), run: false, size: self.bytes.len() as u64 };
        ServerFolder { files: [("api.tar".parse().unwrap(), file)].into(), ..ServerFolder::default() }
    }
}
