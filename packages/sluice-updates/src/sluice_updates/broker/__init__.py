"""RabbitMQ: its URL, and a connection that only publishes."""
