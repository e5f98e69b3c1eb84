"""What the checks of deploy/ share: running programs, waiting, and how a check fails."""

import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Folders that tools/needs installs into.
TOOLS = TARGET / "tools"
PACKAGES = TOOLS / "deploy"
POLL_SECONDS = 0.2


class Fault(Exception):
    """Something is not as it must be."""


def run(command, **options):
    """Runs a program; gives its standard output, or fails with what it wrote."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": False} | options
    ran = subprocess.run([str(word) for word in command], **options)
    if ran.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise Fault(f"{words} exited with {ran.returncode}:\n{ran.stdout or ''}{ran.stderr or ''}")
    return ran.stdout


def until(what, seconds, attempt):
    """Repeats an attempt until it gives something; fails with its last fault when it takes too long."""
    end = time.monotonic() + seconds
    fault = None
    while time.monotonic() < end:
        try:
            if found := attempt():
                return found
        except Fault as error:
            fault = error
        time.sleep(POLL_SECONDS)
    raise Fault(f"{what} took more than {seconds} s" + (f": {fault}" if fault else ""))
