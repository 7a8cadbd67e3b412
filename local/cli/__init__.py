"""The `video2mp3` command."""
