"""Functions of an atom's surroundings that turn with them: scalars, vectors and tensors, of either parity."""
