"""Odd and hostile files, made here, and what becomes of them."""
