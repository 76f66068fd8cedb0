"""From a dataset to a potential in memory: it knows no YAML, no folder and no report.

``in_memory.run_study`` is the way in. ``problem`` holds what trials share, ``linear_trial`` and ``family_fit`` evaluate
one trial of either kind of family, ``trials`` loops over them, ``refinement`` goes on to several densities, ``final``
fits the winner, ``committee`` more of its kind.
"""
