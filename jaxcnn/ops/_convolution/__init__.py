"""Engines of the convolutions: ordinary and depthwise, one file per implementation and one that dispatches."""
