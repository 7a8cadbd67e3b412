"""The burst test: many videos at once, what became of each of them, and what that cost (`video2mp3 burst`)."""
