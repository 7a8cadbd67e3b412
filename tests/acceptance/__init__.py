"""Tests of what users see, over real HTTP."""
