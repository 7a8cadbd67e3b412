"""Queues of an older system of this kind: its messages become jobs, and it is told of the MP3s."""
