"""Puts right what a crash, a lost event or time left undone."""
