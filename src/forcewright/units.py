"""Unit conversions. Inside: eV, Å, u, K, fs; stress in eV/Å³ with the ASE sign.

Values are CODATA 2014, the set ASE uses, so numbers agree with ASE to the last digit.
"""

from __future__ import annotations

from ase import units as _ase

GPA = _ase.GPa  #: 1 GPa in eV/Å³
KBAR = 0.1 * _ase.GPa  #: 1 kbar in eV/Å³
BAR = 1e-4 * _ase.GPa  #: 1 bar in eV/Å³
HARTREE = _ase.Hartree  #: 1 Hartree in eV
RYDBERG = _ase.Rydberg  #: 1 Rydberg in eV
KCAL_PER_MOL = _ase.kcal / _ase.mol  #: 1 kcal/mol in eV
KJ_PER_MOL = _ase.kJ / _ase.mol  #: 1 kJ/mol in eV
BOHR = _ase.Bohr  #: 1 Bohr in Å
FS = _ase.fs  #: 1 fs in ASE time units, for ASE calls only
