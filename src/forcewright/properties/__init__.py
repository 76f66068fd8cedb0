"""Models of properties beside the energy, and what follows from them."""
