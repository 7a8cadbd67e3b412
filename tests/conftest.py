"""For every test."""

from hypothesis import settings

# No timing limits in tests: how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
