"""How events travel on a laptop: the RabbitMQ dispatcher's rules, and what carries them."""
