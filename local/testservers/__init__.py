"""Real servers for development and tests: installed, started and stopped by `local/services`."""
