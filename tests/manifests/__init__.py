"""Tests of the YAML files and of the tree itself."""
