"""Random augmentation of single examples, compiled with the training step: a key and an image in, an image out."""
