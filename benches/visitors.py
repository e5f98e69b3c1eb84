"""Visitors of an edge for the programs of this folder: connections of HTTP/1.1, HTTP/2 and HTTP/3 that are kept or made
again."""

import io
import os
import pathlib
import socket
import ssl
import statistics
import struct
import sys

# Where tools/needs puts the client of HTTP/3.
TARGET = os.environ.get("CARGO_TARGET_DIR") or pathlib.Path(__file__).resolve().parent.parent / "target"
sys.path.append(str(pathlib.Path(TARGET) / "tools" / "http3"))
try:
    import pycurl
except ImportError:
    pycurl = None

ANSWER_S_MAX = 60
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
REFUSED_STREAM = 7


def connected(port, protocol, host):
    """A connection of TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=host)


def exactly(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise ConnectionError("the connection ended within an answer")
    return data


class Http1:
    """A connection of HTTP/1.1, which is made again where the last answer said that it was the last."""

    def __init__(self, port, host):
        self.port, self.host, self.stream = port, host, None

    def request(self, path, body=None, fields=""):
        if self.stream is None:
            self.socket = connected(self.port, "http/1.1", self.host)
            self.stream = self.socket.makefile("rb")
        length = f"content-length: {len(body)}\r\n" if body is not None else ""
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n{length}{fields}\r\n"
        self.socket.sendall(head.encode() + (body or b""))
        status = self.stream.readline()
        if not status:
            raise ConnectionError("the connection ended before the answer")
        found = {}
        while (line := self.stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            found[name.lower()] = value.strip()
        return int(status.split()[1]), found

    def get(self, path, body=None):
        status, fields = self.request(path, body)
        text = exactly(self.stream, int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            self.close()
        return status, text

    def close(self):
        if self.stream is not None:
            self.stream.close()
            self.socket.close()
            self.stream = None


class Http2:
    """A connection of HTTP/2, which is made again once the server drains it."""

    def __init__(self, port, host):
        self.port, self.host, self.socket = port, host, None

    def open(self):
        self.socket = connected(self.port, "h2", self.host)
        self.stream, self.next_id, self.last, self.drains = self.socket.makefile("rb"), 1, None, False
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    def close(self):
        if self.socket is not None:
            self.stream.close()
            self.socket.close()
            self.socket = None

    def get(self, paths):
        """Requests all paths at once. Gives their statuses and bodies."""
        answers, left = {}, list(enumerate(paths))
        while left:
            if self.socket is None or self.drains:
                self.close()
                self.open()
            open_ids, requests = {}, b""
            for number, path in left:
                open_ids[self.next_id] = number
                requests += frame(HEADERS, 5, self.next_id, block(path, f"{self.host}:{self.port}"))
                self.next_id += 2
            self.socket.sendall(requests)
            taken = self.answers(open_ids)
            answers.update(taken)
            left = [(number, path) for number, path in left if number not in taken]
        return [answers[number] for number in range(len(paths))]

    def answers(self, open_ids):
        """The answers to the streams that the server took."""
        statuses, bodies, answers = {}, {}, {}
        waiting = set(open_ids)
        while waiting:
            try:
                kind, flags, stream, payload = self.read()
            except (ConnectionError, ssl.SSLError):
                if self.last is not None and min(waiting) > self.last:
                    break
                raise
            if kind == HEADERS:
                statuses[stream] = 200 if payload[:1] == b"\x88" else payload[:8]
            elif kind == DATA:
                bodies[stream] = bodies.get(stream, b"") + payload
                if payload:
                    self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))))
            elif kind == RST_STREAM:
                if struct.unpack(">I", payload)[0] != REFUSED_STREAM:
                    raise ConnectionError(f"stream {stream} was reset: {payload.hex()}")
                waiting.discard(stream)
            if kind in (HEADERS, DATA) and flags & 1 and stream in waiting:
                waiting.discard(stream)
                answers[open_ids[stream]] = (statuses[stream], bodies.get(stream, b""))
            if kind == GOAWAY and self.last is not None:
                waiting = {stream for stream in waiting if stream <= self.last}
        return answers

    def read(self):
        head = exactly(self.stream, 9)
        payload = exactly(self.stream, int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == SETTINGS and not flags & 1:
            self.socket.sendall(frame(SETTINGS, 1, 0, b""))
        elif kind == PING and not flags & 1:
            self.socket.sendall(frame(PING, 1, 0, payload))
        elif kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            if code:
                raise ConnectionError(f"GOAWAY with the error {code}")
            self.drains = True
            # The first one says that the next one will name the last stream.
            self.last = last if last < (1 << 31) - 1 else None
        return kind, flags, stream, payload


def lacks_http3():
    """What the machine lacks for HTTP/3."""
    return [] if pycurl else ["pycurl with ngtcp2"]


class Http3:
    """A connection of HTTP/3 of libcurl, which makes it again by itself once the server drains it."""

    def __init__(self, port, host, at_once=1):
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_PIPELINING, 2)
        self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
        self.handles = [pycurl.Curl() for _ in range(at_once)]
        self.base = f"https://{host}:{port}"
        for handle in self.handles:
            handle.setopt(pycurl.RESOLVE, [f"{host}:{port}:127.0.0.1"])
            handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_3ONLY)
            handle.setopt(pycurl.SSL_VERIFYPEER, False)
            handle.setopt(pycurl.SSL_VERIFYHOST, 0)
            handle.setopt(pycurl.PIPEWAIT, True)
            handle.setopt(pycurl.TIMEOUT, ANSWER_S_MAX)

    def get(self, paths):
        """Requests all paths, as many at once as there are handles. Gives their statuses and bodies."""
        answers, left, under_way, free = {}, list(enumerate(paths))[::-1], {}, list(self.handles)
        while left or under_way:
            while left and free:
                handle, (number, path), body = free.pop(), left.pop(), io.BytesIO()
                handle.setopt(pycurl.URL, self.base + path)
                handle.setopt(pycurl.WRITEDATA, body)
                under_way[handle] = (number, body)
                self.multi.add_handle(handle)
            self.multi.select(1.0)
            self.multi.perform()
            _, ended, failed = self.multi.info_read()
            for handle, code, message in failed:
                raise ConnectionError(f"{code} {message}")
            for handle in ended:
                number, body = under_way.pop(handle)
                answers[number] = (handle.getinfo(pycurl.RESPONSE_CODE), body.getvalue())
                self.multi.remove_handle(handle)
                free.append(handle)
        return [answers[number] for number in range(len(paths))]

    def close(self):
        """Takes back what is under way."""
        for handle in self.handles:
            try:
                self.multi.remove_handle(handle)
            except pycurl.error:
                pass


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(path, authority):
    """A block of fields (RFC 7541) without Huffman and without the table."""
    text = lambda value: bytes([len(value)]) + value.encode()
    return b"\x82\x87\x04" + text(path) + b"\x01" + text(authority)


def fetched(connection, fetch, count=1):
    """Does a fetch; gives its number of answers, and closes the connection of one that fails."""
    try:
        fetch()
    except Exception:
        connection.close()
        raise
    return count


def milliseconds(times):
    if not times:
        return "-"
    times = sorted(times)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1_000
    return f"{statistics.median(times) * 1_000:.1f}  {at(0.99):.1f}  {times[-1] * 1_000:.1f}"
