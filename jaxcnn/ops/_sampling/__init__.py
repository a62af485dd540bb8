"""Engines of sampling: weights along an axis, gather and its adjoints, antialiasing, transforms in pixel units."""
