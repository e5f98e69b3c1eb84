#!/usr/bin/env python3
"""What a cluster on this machine keeps its truth in: an etcd and an S3 store, on ports of loopback.

    tools/stores.py FOLDER

starts both in FOLDER, prints one line of JSON with their ports and the credentials of the store, and ends them when its
standard input ends. Needs etcd and weed in the PATH or in target/tools.
"""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

sys.dont_write_bytecode = True

from common import Fault, TOOLS, free_ports, until

START_SECONDS_MAX = 60
STORE_KEY = ("check-key-id", "check-secret-key")


def status_of(port, method, path, body=None):
    """The status of an answer; urllib would give a request without a body a type."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def read_json(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


class Stores:
    """Processes in a folder, which are killed at the end; a context."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DEVANTURE_")}
        key_id, secret = STORE_KEY
        self.environment = kept | {
            "PATH": f"{os.environ['PATH']}:{TOOLS / 'seaweedfs' / 'bin'}",
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # What they have is thrown away, so that they need not save it.
        for process in self.processes:
            process.kill()
            process.wait()

    def start(self, name, command, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=self.environment)
        self.processes.append(process)
        return process

    def start_etcd(self):
        client, peer = free_ports(2)
        command = ["etcd", "--name", "m1", "--data-dir", "data", "--log-level", "error"]
        for kind, port in [("client", client), ("peer", peer)]:
            command += [f"--listen-{kind}-urls", f"http://127.0.0.1:{port}"]
        command += ["--advertise-client-urls", f"http://127.0.0.1:{client}"]
        command += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
        command += ["--initial-cluster", f"m1=http://127.0.0.1:{peer}"]
        self.start("etcd", command, self.folder / "etcd")
        until("the start of etcd", START_SECONDS_MAX, lambda: read_json(f"http://127.0.0.1:{client}/health")["health"] == "true")
        return client

    def start_store(self):
        ports = free_ports(8)
        key_id, secret = STORE_KEY
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {
            "name": "check",
            "credentials": [{"accessKey": key_id, "secretKey": secret}],
            "actions": everything,
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
        names += ["s3.port", "s3.port.grpc"]
        command = ["weed", "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-dir=.", "-s3"]
        command += ["-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        command += ["-volume.max=20", "-master.volumeSizeLimitMB=64", f"-s3.config={self.folder / 's3.json'}"]
        command += [f"-{name}={port}" for name, port in zip(names, ports)]
        self.start("store", command, self.folder / "store")
        filer, s3 = ports[4], ports[6]
        made = lambda: status_of(filer, "POST", "/buckets/www/") < 300
        until("the bucket of the store", START_SECONDS_MAX, made)
        # The bucket is there before what keeps its files is.
        takes = lambda: status_of(filer, "PUT", "/buckets/www/first", b"a file") < 300
        until("the first file of the store", START_SECONDS_MAX, takes)
        gone = lambda: status_of(filer, "DELETE", "/buckets/www/first") < 300
        until("its deletion", START_SECONDS_MAX, gone)
        until("the store's S3", START_SECONDS_MAX, lambda: status_of(s3, "GET", "/") < 500)
        return s3


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        with Stores(pathlib.Path(sys.argv[1])) as stores:
            etcd, store = stores.start_etcd(), stores.start_store()
            print(json.dumps({"etcd": etcd, "store": store, "key": STORE_KEY}), flush=True)
            sys.stdin.read()
    except (Fault, OSError) as fault:
        sys.exit(f"stores: {fault}")


if __name__ == "__main__":
    main()
