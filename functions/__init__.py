"""The steps of video2mp3, one package each, and what they share in `functions.common`."""
