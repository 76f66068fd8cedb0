"""Forcewright: from labelled atomic structures to an interatomic potential that can be trusted in a simulation."""
