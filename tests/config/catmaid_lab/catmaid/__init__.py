"""The app under the name that docs/how-to/catmaid.md uses."""
