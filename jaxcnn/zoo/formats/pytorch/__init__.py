"""Weight files of PyTorch."""
