"""Weight files of MatConvNet."""
