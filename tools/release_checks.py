"""What tools/check-packages looks at of the tools that make a release: a bump, a build that fails, a pre-release,
the variables of a trial."""

import os
import re
import shutil
import subprocess

import common
from common import Fault, ROOT, version


def say(message):
    print(message, flush=True)


def expect(condition, message):
    if not condition:
        raise Fault(message)


def run(*command, **options):
    """All output of a command that succeeds."""
    return common.run(command, stderr=subprocess.STDOUT, **options)


def check_bump(folder):
    """One command makes another version, which the lock files agree with."""
    copy = folder / "copy"
    files = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in files:
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    fragments = list((copy / "changelog/unreleased").glob("*.md"))
    run(copy / "tools/bump-version", "99.0.1", "--date", "2030-01-31")
    text = (copy / "CHANGELOG.md").read_text()
    expect("\n## 99.0.1 (2030-01-31)\n" in text and text.count("\n- ") >= len(fragments), "CHANGELOG.md lacks fragments")
    documents = [*(copy / "docs").glob("*.md"), *(copy / "deploy").rglob("*.yaml")]
    earlier = re.compile(r"\bdevanture(?:-[a-z]\w*)*[:_-]" + re.escape(version()) + r"(?!\.?\d)")
    left = [path.name for path in documents if earlier.search(path.read_text())]
    expect(not left, f"the earlier version is still in {left}")
    for manifest in ("Cargo.toml", "fuzz/Cargo.toml"):
        run("cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", copy / manifest)
    say(f"bumped the version, with {len(fragments)} fragments of the changelog")


def check_failed_build(folder):
    """A build that fails ends a release: no programs of an earlier one take the place of its own."""
    tools, target = folder / "tools", folder / "earlier"
    for path, text in {
        tools / "cargo": "#!/bin/sh\necho 'error: could not compile' >&2\nexit 101\n",
        # What packs the console, which comes after the build.
        tools / "npm": f"#!/bin/sh\ntouch {folder}/went-on\nexit 1\n",
        target / "dist/devanture": "of an earlier commit\n",
        target / "dist/devanture-edge": "of an earlier commit\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    environment = os.environ | {"CARGO_TARGET_DIR": str(target), "PATH": f"{tools}:{os.environ['PATH']}"}
    command = [ROOT / "tools/release", "--only", "tarball", "--quick"]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    expect(ended.returncode == 101, f"a release whose build failed ended with {ended.returncode}: {ended.stdout}")
    expect(not (folder / "went-on").exists() and not (target / "release-artifacts").exists(), "it went on")
    say("a failed build ends a release")


def check_variables():
    """The trial of an upgrade has the variables of the running edge that it needs, and no others."""
    script = (ROOT / "deploy/debian/devanture-edge/postinst").read_text()
    function = re.search(r"^with_variables_of\(\) \{\n.*?^\}\n", script, re.MULTILINE | re.DOTALL).group()
    needed = {"AWS_ACCESS_KEY_ID": "key", "DEVANTURE_EDGE_NODE": "node-1", "DEVANTURE_EDGE_ADVERTISE": "10.0.0.21"}
    others = {"LD_LIBRARY_PATH": "/nowhere", "PERL5LIB": "/nowhere", "DEVANTURE_EDGE_CONFIG": "/nowhere/edge.toml"}
    edge = subprocess.Popen(["sleep", "infinity"], env=needed | others | {"PATH": os.environ["PATH"]})
    try:
        call = [function + 'with_variables_of "$1" env', "sh", str(edge.pid)]
        lines = run("sh", "-euc", *call, env={"PATH": os.environ["PATH"]}).splitlines()
        found = dict(line.split("=", 1) for line in lines)
    finally:
        edge.kill()
        edge.wait()
    expect(needed.items() <= found.items() and not others.keys() & found.keys(), f"the trial has {sorted(found)}")
    say("the trial of an upgrade has what it needs of the running edge")


def check_pre_release(programs, folder):
    """To Debian a version before a release is the lesser one, so that the release replaces it."""
    made = folder / "pre-release"
    run(ROOT / "tools/package-deb", programs, made, "--version", "0.0.2-rc.1", "--quick")
    packages = sorted(made.iterdir())
    expect(len(packages) == 2 and all("_0.0.2-rc.1_" in path.name for path in packages), f"packages: {packages}")
    for package in packages:
        found = run("dpkg-deb", "--field", package, "Version").strip()
        run("dpkg", "--compare-versions", "0.0.1", "lt", found)
        run("dpkg", "--compare-versions", found, "lt", "0.0.2")
    say(f"a pre-release is {found}")
