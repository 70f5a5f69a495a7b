"""The hub: it follows streams and writes their updates to subscribers."""
