"""Projects that were written without the stack, moved in by docs/how-to/your-project.md."""
