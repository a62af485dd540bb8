"""Importers: what a file says of its network, as a graph that runs."""
