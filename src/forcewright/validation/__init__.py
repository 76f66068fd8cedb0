"""The physics of potentials, judged against a reference."""
