"""Tables of names: where the tensors of a source's weight file belong in the models."""
