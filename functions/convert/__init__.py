"""From a stored upload to a stored MP3."""
