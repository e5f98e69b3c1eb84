"""What schemathesis has to know of the API beyond its description: media types whose bodies are plain bytes, and the
longest address that is looked at as one of the API."""

from urllib.parse import urlencode

import schemathesis

# Any bytes: that they are blobs is looked at after the media type.
schemathesis.serializer.alias("application/vnd.devanture.blobs", "application/octet-stream")
schemathesis.serializer.alias("application/vnd.devanture.run", "application/octet-stream")
schemathesis.serializer.alias("application/zstd", "application/octet-stream")

# Beyond 64 KiB HTTP itself answers 414, without a problem: texts that are each short enough may be too long together.
QUERY_BYTES_MAX = 60_000


@schemathesis.hook
def filter_query(context, query):
    return query is None or len(urlencode(query, doseq=True)) <= QUERY_BYTES_MAX
