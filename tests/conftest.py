"""For all tests of the sample site and of the whole: its settings, and real servers for tests that ask.

A package has tests of its own, with a conftest.py of its own: run them in a call of their own. Stacks belong
to tests/e2e (tests/e2e/conftest.py).
"""

import pytest

pytest.register_assert_rewrite("harness.django_servers")

from harness import django_servers  # noqa: E402

pytest_plugins = ["harness.django_servers", "harness.fixtures"]

# Before any test module, or conftest.py further down, imports a model.
django_servers.prepare("mysite.settings")
