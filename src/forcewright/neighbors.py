"""Pairs of neighbors behind one function."""
