"""A database backend that says it is MySQL, as that of MariaDB does."""
