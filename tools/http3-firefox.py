#!/usr/bin/env python3
"""Opens a page in Firefox, which knows that its origin has HTTP/3, and prints what came.

Reads JSON from stdin:
  host, port, ca   the origin, at 127.0.0.1, and the file of the authority that it is trusted by
  page             the path of the page
  fetches          paths that a script of the page gets
Prints {"title", "protocols": those of all that the page loaded, "sha256": a list, that of each fetch}. Exits with 3 where
Firefox, or certutil of NSS, is not installed.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

START_S_MAX = 60
ANSWER_S_MAX = 120
FETCH = """
const [path, done] = arguments;
(async () => {
  const answer = await fetch(path, { cache: "no-store" });
  const digest = await crypto.subtle.digest("SHA-256", await answer.arrayBuffer());
  return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, "0")).join("");
})().then(done, error => done(`${path}: ${error}`));
"""
PROTOCOLS = """
const entries = ["navigation", "resource"].flatMap(type => performance.getEntriesByType(type));
return [...new Set(entries.map(entry => entry.nextHopProtocol))].sort();
"""


def prepare(profile, job):
    """Trusts the authority, and says where HTTP/3 is, as `Alt-Svc` would."""
    database = f"sql:{profile}"
    subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
    subprocess.run(["certutil", "-A", "-d", database, "-n", "test", "-t", "C,,", "-i", job["ca"]], check=True)
    preferences = {
        "browser.shell.checkDefaultBrowser": False,
        "datareporting.policy.dataSubmissionEnabled": False,
        "marionette.port": 0,
        "network.dns.disableIPv6": True,
        "network.dns.localDomains": job["host"],
        "network.http.http3.alt-svc-mapping-for-testing": f"{job['host']};h3=:{job['port']}",
        # The authority is none of those that browsers come with.
        "network.http.http3.disable_when_third_party_roots_found": False,
        "network.http.http3.enable": True,
        "toolkit.telemetry.enabled": False,
    }
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (profile / "user.js").write_text("".join(lines))


class Marionette:
    """The browser's own protocol for tests: lengths, colons, and JSON."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX)
        self.stream, self.number = self.socket.makefile("rb"), 0
        self.read()

    def read(self):
        length = b""
        while not length.endswith(b":"):
            length += self.stream.read(1) or sys.exit("firefox ended")
        return json.loads(self.stream.read(int(length[:-1])))

    def call(self, name, **parameters):
        self.number += 1
        message = json.dumps([0, self.number, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self.read()
        if error:
            sys.exit(f"{name}: {error}")
        return result.get("value") if isinstance(result, dict) else result


def visit(job, port):
    browser = Marionette(port)
    browser.call("WebDriver:NewSession", capabilities={})
    browser.call("WebDriver:SetTimeouts", script=ANSWER_S_MAX * 1_000)
    browser.call("WebDriver:Navigate", url=f"https://{job['host']}:{job['port']}{job['page']}")
    fetch = lambda path: browser.call("WebDriver:ExecuteAsyncScript", script=FETCH, args=[path])
    title, fetched = browser.call("WebDriver:GetTitle"), [fetch(path) for path in job.get("fetches", [])]
    protocols = browser.call("WebDriver:ExecuteScript", script=PROTOCOLS, args=[])
    return {"title": title, "protocols": protocols, "sha256": fetched}


def main():
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if not firefox or not shutil.which("certutil"):
        print("firefox or certutil is not installed")
        return 3
    job = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = pathlib.Path(folder)
        prepare(profile, job)
        command = [firefox, "--headless", "--marionette", "--no-remote", "--profile", folder, "about:blank"]
        with open(profile / "log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ, HOME=folder))
        try:
            found, end = profile / "MarionetteActivePort", time.monotonic() + START_S_MAX
            while not (found.exists() and found.read_text().strip()):
                if time.monotonic() > end or process.poll() is not None:
                    sys.exit("firefox does not start: " + (profile / "log").read_text()[-2_000:])
                time.sleep(0.05)
            print(json.dumps(visit(job, int(found.read_text()))))
        finally:
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
