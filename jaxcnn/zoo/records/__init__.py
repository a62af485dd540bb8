"""What the zoos state of their weight files."""
