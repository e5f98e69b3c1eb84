# A JSON API in FastAPI: bearer tokens, pages and filters, files, server-sent events and a WebSocket.
