"""Experiments whose results the README and the docs quote."""
