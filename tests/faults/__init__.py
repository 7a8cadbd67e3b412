"""Crashes, repeats and absences, and what is left afterwards."""
