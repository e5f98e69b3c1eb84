"""What schemathesis has to know of the API beyond its description: media types whose bodies are plain bytes."""

import schemathesis

# Any bytes: that they are blobs is looked at after the media type.
schemathesis.serializer.alias("application/vnd.devanture.blobs", "application/octet-stream")
schemathesis.serializer.alias("application/vnd.devanture.run", "application/octet-stream")
schemathesis.serializer.alias("application/zstd", "application/octet-stream")
