"""Readers of weight files, one per format: file in, ``Checkpoint`` out."""
