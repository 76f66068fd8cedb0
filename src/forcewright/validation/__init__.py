"""Physical validation of potentials against a reference."""
