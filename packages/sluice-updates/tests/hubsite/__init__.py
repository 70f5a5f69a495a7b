"""A small Django site for the tests of the hub: settings, ASGI application, and a control process."""
