"""Weight files of TensorFlow and TensorFlow Lite."""
