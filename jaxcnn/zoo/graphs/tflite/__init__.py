"""Networks of TensorFlow Lite."""
