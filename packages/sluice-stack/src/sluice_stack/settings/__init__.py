"""Building blocks for a project's settings."""
