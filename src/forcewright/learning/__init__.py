"""Active learning: a potential looks for what it does not know in simulations of its own, and has it labelled.

Five parts work together, each behind a contract (`forcewright.learning.contracts`): a model that is fitted, a simulator
that walks, a measure of novelty, a reference that labels, and a policy that says when to stop and what to label.
"""
