"""The hub: what it knows of streams, and whom it writes to."""
