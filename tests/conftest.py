"""For every test."""

import os
import signal
import sys

from hypothesis import settings

# Without bytecode each of pytest's processes rewrites and compiles every module of tests anew, which takes it longer
# than to import them. For the programs that tests start, too.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No timing limits in tests: how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that starts the tests in the background has all that they start ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)
