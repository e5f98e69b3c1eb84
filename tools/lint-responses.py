#!/usr/bin/env python3
"""Has httplint look at whole responses, and fails at each of its warnings that is not explained below.

Reads a JSON list from stdin: {"method", "target", "request": [[name, value]…], "status", "response": [[name, value]…],
"body": base64}. Exits with 3 where httplint is not installed.
"""

import base64
import json
import sys

try:
    from httplint import HttpRequestLinter, HttpResponseLinter
    from httplint.note import levels
except ImportError as error:
    print(error)
    sys.exit(3)

# The name of a note, where it is to be expected, and why it is no fault of the edge's.
EXPLAINED = {
    # Everybody may have a file, whatever the request: with `public`, also the answer to a request that carried
    # `Authorization` may be shared (RFC 9111 §3.5). What may not be shared will be said by rules.
    "STORE_PUBLIC_UNNECESSARY": lambda exchange: True,
    # RFC 9110 §15.3.7.2: an answer of several parts must not have the field; each part has its own.
    "PARTIAL_WITHOUT_RANGE": lambda exchange: b"multipart/byteranges" in dict(pairs(exchange["response"]))[b"content-type"],
    # A part of a compressed file does not begin as the file does.
    "BAD_GZIP": lambda exchange: exchange["status"] == 206,
    # The request was made to be refused.
    "STATUS_BAD_REQUEST": lambda exchange: exchange["target"] == "/%00",
}


def pairs(fields):
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def notes_of(exchange):
    request = HttpRequestLinter()
    request.process_request_topline(
        exchange["method"].encode(), f"https://shop.localhost{exchange['target']}".encode(), b"HTTP/1.1"
    )
    request.process_headers(pairs(exchange["request"]))
    request.finish_content(True)
    no_content = exchange["method"] == "HEAD"
    response = HttpResponseLinter(_related=request, no_content=no_content)
    response.process_response_topline(b"HTTP/1.1", str(exchange["status"]).encode(), b"")
    response.process_headers(pairs(exchange["response"]))
    response.feed_content(base64.b64decode(exchange["body"]))
    response.finish_content(True)
    return response.notes


def main():
    exchanges = json.load(sys.stdin)
    faults, used = [], set()
    for exchange in exchanges:
        for note in notes_of(exchange):
            name = type(note).__name__
            if note.level not in (levels.WARN, levels.BAD):
                continue
            if name in EXPLAINED and EXPLAINED[name](exchange):
                used.add(name)
                continue
            line = f"{exchange['method']} {exchange['target']} {exchange['status']}"
            faults.append(f"{line}: {note.level.value}: {name}: {note.summary}")
    faults += [f"explained, but no response has it: {name}" for name in EXPLAINED if name not in used]
    print("\n".join(faults) or f"{len(exchanges)} responses without a warning that is not explained")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
