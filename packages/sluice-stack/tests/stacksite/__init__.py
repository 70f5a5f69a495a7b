"""A small project in the stack, for the tests of sluice_stack."""
