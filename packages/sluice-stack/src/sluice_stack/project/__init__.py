"""A Django project of your own in the stack's containers.

Two lines at the end of its settings take the stack's settings. Outside the containers they change nothing.

    from sluice_stack.project import configure

    configure(globals())

docs/how-to/your-project.md is the guide.
"""

from .configuration import configure

__all__ = ["configure"]
