"""A project that has tests of its own. test_runners.py runs them by `manage.py test` and by pytest-django."""
