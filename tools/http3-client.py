#!/usr/bin/env python3
"""Makes requests with an HTTP/3 client that others wrote, and prints what came.

Reads JSON from stdin:
  client     "curl" (libcurl with ngtcp2, by PyPI's pycurl) or "aioquic"
  address    where the server is, a port of 127.0.0.1
  host, ca   its name, and the file of the authority that it is trusted by
  version    for curl: "3" does without HTTP/3 where that does not answer, "3only" does not, "2" asks for no HTTP/3
  at_once    how many requests are under way at once, all on one connection
  requests   a list of {"method", "path", "headers": [[name, value]…], "upload": the number of bytes of a body}
Prints a JSON list of {"status", "version", "bytes", "sha256"}. Exits with 3 where the client is not installed.
"""

import asyncio
import hashlib
import io
import json
import os
import pathlib
import sys

# Where tools/needs puts them. They come last, so that an installed one goes before.
TARGET = os.environ.get("CARGO_TARGET_DIR") or pathlib.Path(__file__).resolve().parent.parent / "target"
sys.path.append(str(pathlib.Path(TARGET) / "tools" / "http3"))

TIME_S_MAX = 120


def upload(count):
    """A body of so many bytes, none like the one before."""
    return (bytes(range(251)) * (count // 251 + 1))[:count]


class Curl:
    """One request at a time."""

    def __init__(self, job):
        self.job, self.handle, self.body = job, pycurl.Curl(), None

    def begin(self, number, request):
        job, handle, self.number = self.job, self.handle, number
        handle.reset()
        handle.setopt(pycurl.URL, f"https://{job['host']}:{job['address']}{request['path']}")
        handle.setopt(pycurl.RESOLVE, [f"{job['host']}:{job['address']}:127.0.0.1"])
        handle.setopt(pycurl.CAINFO, job["ca"])
        versions = {"3only": pycurl.CURL_HTTP_VERSION_3ONLY, "3": pycurl.CURL_HTTP_VERSION_3,
                    "2": pycurl.CURL_HTTP_VERSION_2TLS}
        handle.setopt(pycurl.HTTP_VERSION, versions[job.get("version", "3only")])
        handle.setopt(pycurl.PATH_AS_IS, True)
        handle.setopt(pycurl.PIPEWAIT, True)
        handle.setopt(pycurl.TIMEOUT, TIME_S_MAX)
        handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in request.get("headers", [])])
        if request.get("upload"):
            handle.setopt(pycurl.UPLOAD, True)
            handle.setopt(pycurl.READDATA, io.BytesIO(upload(request["upload"])))
            handle.setopt(pycurl.INFILESIZE, request["upload"])
        if request.get("method") == "HEAD":
            handle.setopt(pycurl.NOBODY, True)
        handle.setopt(pycurl.CUSTOMREQUEST, request.get("method", "GET"))
        self.body = io.BytesIO()
        handle.setopt(pycurl.WRITEDATA, self.body)

    def end(self):
        body = self.body.getvalue()
        # The values of libcurl's CURL_HTTP_VERSION_*.
        version = {1: "1.0", 2: "1.1", 3: "2", 30: "3"}.get(self.handle.getinfo(pycurl.INFO_HTTP_VERSION), "?")
        return answer(self.handle.getinfo(pycurl.RESPONSE_CODE), version, body)


def answer(status, version, body):
    return {"status": status, "version": version, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def curl(job):
    multi, left = pycurl.CurlMulti(), list(enumerate(job["requests"]))[::-1]
    multi.setopt(pycurl.M_PIPELINING, 2)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
    free, answers = [Curl(job) for _ in range(job.get("at_once", 1))], {}
    under_way = {}
    while left or under_way:
        while left and free:
            one = free.pop()
            one.begin(*left.pop())
            under_way[one.handle] = one
            multi.add_handle(one.handle)
        multi.select(1.0)
        multi.perform()
        _, ended, failed = multi.info_read()
        for handle, code, message in failed:
            request = job["requests"][under_way[handle].number]
            sys.exit(f"{request}: {code} {message}")
        for handle in ended:
            one = under_way.pop(handle)
            answers[one.number] = one.end()
            multi.remove_handle(handle)
            free.append(one)
    return [answers[number] for number in range(len(job["requests"]))]


async def quic(job):
    class Client(QuicConnectionProtocol):
        """A connection with its requests."""

        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.http, self.streams = H3Connection(self._quic), {}

        async def ask(self, request):
            stream, done = self._quic.get_next_available_stream_id(), asyncio.get_running_loop().create_future()
            self.streams[stream] = (done, {}, bytearray())
            fields = [(":method", request.get("method", "GET")), (":scheme", "https"),
                      (":authority", f"{job['host']}:{job['address']}"), (":path", request["path"])]
            fields += [(name.lower(), value) for name, value in request.get("headers", [])]
            body = upload(request.get("upload", 0))
            self.http.send_headers(stream, [(a.encode(), b.encode()) for a, b in fields], end_stream=not body)
            if body:
                self.http.send_data(stream, body, end_stream=True)
            self.transmit()
            return await asyncio.wait_for(done, TIME_S_MAX)

        def quic_event_received(self, event):
            if isinstance(event, ConnectionTerminated):
                for done, _, _ in self.streams.values():
                    done.done() or done.set_exception(ConnectionError(f"{event.error_code:#x} {event.reason_phrase}"))
            elif isinstance(event, StreamReset) and event.stream_id in self.streams:
                self.streams[event.stream_id][0].set_exception(ConnectionError(f"reset: {event.error_code:#x}"))
            for one in self.http.handle_event(event):
                done, fields, body = self.streams[one.stream_id]
                if isinstance(one, HeadersReceived):
                    fields.update((name.decode(), value.decode()) for name, value in one.headers)
                elif isinstance(one, DataReceived):
                    body += one.data
                if one.stream_ended and not done.done():
                    done.set_result(answer(int(fields[":status"]), "3", bytes(body)))

    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=job["host"])
    configuration.load_verify_locations(cafile=job["ca"])
    requests = iter(enumerate(job["requests"]))
    answers = {}
    async with connect("127.0.0.1", job["address"], configuration=configuration, create_protocol=Client) as client:
        async def work():
            for number, request in requests:
                answers[number] = await client.ask(request)

        await asyncio.gather(*(work() for _ in range(job.get("at_once", 1))))
    return [answers[number] for number in range(len(job["requests"]))]


job = json.load(sys.stdin)
try:
    if job["client"] == "curl":
        import pycurl
    else:
        from aioquic.asyncio.client import connect
        from aioquic.asyncio.protocol import QuicConnectionProtocol
        from aioquic.h3.connection import H3Connection
        from aioquic.h3.events import DataReceived, HeadersReceived
        from aioquic.quic.configuration import QuicConfiguration
        from aioquic.quic.events import ConnectionTerminated, StreamReset
except ImportError as error:
    print(error)
    sys.exit(3)
print(json.dumps(curl(job) if job["client"] == "curl" else asyncio.run(quic(job))))
