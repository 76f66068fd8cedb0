"""New structures to label: distorted, defective, random, or from molecular dynamics.

Every function yields `Generated`, a structure and its provenance; randomness comes from the generator passed in.
"""

from __future__ import annotations

from forcewright.generation.dimers import dimers
from forcewright.generation.distortions import (
    MODES,
    deform,
    rattle,
    strain,
    strain_along_modes,
    supercells,
    volume_scan,
)
from forcewright.generation.fragments import fragments
from forcewright.generation.generated import Generated, as_dataset, generated
from forcewright.generation.molecular_dynamics import sample_md
from forcewright.generation.point_defects import interstitials, vacancies, x2_interstitials, x_vacancies
from forcewright.generation.random_structures import random_structures
from forcewright.generation.rattle_relax_repeat import mean_teacher_calls, rattle_relax_repeat
from forcewright.generation.separations import MinimumSeparations
from forcewright.generation.voids import largest_voids

__all__ = [
    "MODES", "Generated", "MinimumSeparations", "as_dataset", "deform", "dimers", "fragments", "generated",
    "interstitials", "largest_voids", "mean_teacher_calls", "random_structures", "rattle",
    "rattle_relax_repeat", "sample_md", "strain", "strain_along_modes", "supercells", "vacancies",
    "volume_scan", "x2_interstitials", "x_vacancies",
]  # fmt: skip
