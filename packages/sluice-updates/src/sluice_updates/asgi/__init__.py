"""The ASGI side: WebSockets, event streams, consumers of Channels, health."""
