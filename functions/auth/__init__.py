"""Accounts: register, log in, and the keys others verify tokens with."""
