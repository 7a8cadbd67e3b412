"""Mails the outcome of a job, once."""
