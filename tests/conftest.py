"""For every test."""

import signal

from hypothesis import settings

# No timing limits in tests: how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that starts the tests in the background has all that they start ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)
