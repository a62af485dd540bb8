"""Convolutional image models in JAX: sampling, spatial transformers, pooling, training."""

__version__ = "0.1.0"
