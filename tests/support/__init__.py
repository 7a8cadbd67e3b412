"""What tests of several folders share: servers that are started for real, and a client of their API."""
