"""The HTTP/1.1 and WebSocket client that reports what happened on its connections."""
