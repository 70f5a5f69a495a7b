"""The packages as they are built (`make packages`): what they contain, and that a stranger can use them."""
