"""Weight files of Keras."""
