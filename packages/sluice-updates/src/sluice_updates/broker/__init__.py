"""A site's RabbitMQ: its URL, and a connection that publishes."""
