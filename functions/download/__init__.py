"""Hands a finished MP3 to its owner."""
