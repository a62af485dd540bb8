"""What the zoos state about their weight files."""
