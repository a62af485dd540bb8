"""The small networks of the experiments."""
