"""The built packages (`make packages`): their contents, and that they work in another project."""
