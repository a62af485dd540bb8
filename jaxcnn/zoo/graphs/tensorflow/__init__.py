"""Networks of TensorFlow: frozen graphs and SavedModels."""
