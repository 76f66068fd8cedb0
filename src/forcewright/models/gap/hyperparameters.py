"""Gaussian approximation potentials: two-body and SOAP, fitted by gap_fit and evaluated by QUIP.

Bartók, Payne, Kondor, Csányi, Phys. Rev. Lett. 104, 136403 (2010); Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115
(2013); Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, model_validator

from forcewright.configs import StrictModel
from forcewright.data.reference_energies import isolated_or_fitted_energies
from forcewright.errors import InputError, MissingExtraError
from forcewright.files import scratch_folder
from forcewright.models.family import FittedHyperparameters
from forcewright.models.gap.files import PARAMETERS, collect
from forcewright.models.gap.potential import GapPotential
from forcewright.models.running import run
from forcewright.models.training_files import LabelNames, write_training_file
from forcewright.open_cell import closed_cell
from forcewright.structure import Dataset
from forcewright.threads import thread_count

#: What the labels are called in the file that gap_fit reads; QUIP takes a plain ``energy`` for its own.
NAMES = LabelNames(energy="REF_energy", forces="REF_forces", virial="REF_virial")

_GAP_BETWEEN_IMAGES = 1.0  # Å beyond the cutoff, along directions that are not periodic

_CITATIONS = {
    "gap": "A. P. Bartók, M. C. Payne, R. Kondor and G. Csányi, Gaussian approximation potentials: The accuracy of "
    "quantum mechanics, without the electrons, Phys. Rev. Lett. 104, 136403 (2010).",
    "soap": "A. P. Bartók, R. Kondor and G. Csányi, On representing chemical environments, "
    "Phys. Rev. B 87, 184115 (2013): the smooth overlap of atomic positions.",
    "quip": "S. Klawohn, J. P. Darby, J. R. Kermode, G. Csányi, M. A. Caro and A. P. Bartók, Gaussian approximation "
    "potentials: Theory, software implementation and application examples, J. Chem. Phys. 159, 174108 (2023): gap_fit.",
}


#: label that each sigma is of
_LABELS = {"energy": "energy", "force": "forces", "virial": "stress"}


class _Descriptor(StrictModel):
    """How far a part of a GAP reaches."""

    cutoff: float = Field(default=5.0, gt=0)
    """Range in Å."""
    cutoff_transition_width: float = Field(default=1.0, gt=0)
    """Width in Å over which neighbors fade out before the cutoff."""

    @model_validator(mode="after")
    def _fades_inside(self) -> Self:
        if self.cutoff_transition_width > self.cutoff:
            raise ValueError("has a cutoff_transition_width above its cutoff; neighbors fade out inside the cutoff")
        return self


class TwoBody(_Descriptor):
    """A pair potential: a Gaussian process of the distance, one per pair of elements."""

    n_sparse: int = Field(default=20, ge=1)
    """Sparse points, uniform in the distance."""
    delta: float = Field(default=1.0, gt=0)
    """How much energy it is expected to describe, in eV."""
    theta: float = Field(default=1.0, gt=0)
    """Length in Å over which it is expected to vary."""


class Soap(_Descriptor):
    """Many-body energies: a Gaussian process of the smooth overlap of atomic positions, one per element."""

    n_max: int = Field(default=8, ge=1, le=20)
    """Radial functions."""
    l_max: int = Field(default=6, ge=0, le=20)
    """Largest angular momentum."""
    atom_sigma: float = Field(default=0.5, gt=0)
    """Width in Å of the Gaussian at each atom."""
    zeta: float = Field(default=4.0, gt=0)
    """Power of the dot product of two environments in the kernel."""
    n_sparse: int = Field(default=500, ge=1)
    """Sparse environments per element; time and memory of a fit grow with it."""
    delta: float = Field(default=0.3, gt=0)
    """How much energy per atom it is expected to describe, in eV."""
    sparse_method: Literal["cur_points", "cur_covariance", "random"] = "cur_points"
    """How sparse environments are chosen."""


class Sigmas(StrictModel):
    """Expected errors of labels and model, which regularize the fit; null for what is not fitted."""

    energy: float | None = Field(default=0.001, gt=0)
    """Of energies, in eV per atom."""
    force: float | None = Field(default=0.05, gt=0)
    """Of force components, in eV/Å."""
    virial: float | None = Field(default=0.02, gt=0)
    """Of virials, in eV per atom."""


class GroupSigmas(StrictModel):
    """Expected errors of one group, where they differ from the others'."""

    energy: float | None = Field(default=None, gt=0)
    """Of the group's energies, in eV per atom; that of sigma where not given."""
    force: float | None = Field(default=None, gt=0)
    """Of the group's force components, in eV/Å; that of sigma where not given."""
    virial: float | None = Field(default=None, gt=0)
    """Of the group's virials, in eV per atom; that of sigma where not given."""


class GapModel(FittedHyperparameters):
    """Hyperparameters of a GAP; a range may stand in the place of every number."""

    kind: Literal["gap"] = "gap"
    """The family: GAP."""
    two_body: TwoBody | None = TwoBody()
    """The pair potential, or null for none."""
    soap: Soap | None = Soap()
    """The many-body part, or null for none."""
    sigma: Sigmas = Sigmas()
    """Expected errors of every group."""
    group_sigma: dict[str, GroupSigmas] = Field(default_factory=dict)
    """Expected errors of single groups."""
    e0: Literal["auto", "least_squares", "zero"] | dict[str, float] = "auto"
    """Energy of an isolated atom of each element in eV: from isolated atoms in the data, else by least squares
    (auto), by least squares, zero, or given."""
    sparse_jitter: float = Field(default=1e-8, gt=0)
    """Added to the diagonal of the covariance of the sparse points."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds after which a fit is stopped."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.two_body is None and self.soap is None:
            raise ValueError("has neither two_body nor soap; give one of them or both")
        return self

    @classmethod
    def with_data(cls, content: Mapping[str, object], train: Dataset) -> dict[str, object]:
        """Return a model's config as it is, after checking that its groups occur in the data.

        Raises
        ------
        InputError
            If group_sigma names a group that no frame has. (A fit to a part of the data passes over such groups.)
        """
        groups = content.get("group_sigma")
        if isinstance(groups, Mapping) and (unknown := sorted(set(groups) - set(train.group_sizes))):
            raise InputError(
                f"names the group {unknown[0]!r}; the data hold {', '.join(train.group_sizes)}",
                field="model.group_sigma",
            )
        return dict(content)

    @classmethod
    def fitted_labels(cls, content: Mapping[str, object]) -> tuple[str, ...]:
        """Return the labels that have a sigma: gap_fit takes virials as it takes energies and forces."""
        sigma = content.get("sigma")
        null = {name for name, value in sigma.items() if value is None} if isinstance(sigma, Mapping) else set()
        return tuple(label for name, label in _LABELS.items() if name not in null)

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite: GAP, SOAP where it is used, and the program."""
        del graded
        soap = {"soap": _CITATIONS["soap"]} if self.soap is not None else {}
        return {"gap": _CITATIONS["gap"], **soap, "quip": _CITATIONS["quip"]}

    @property
    def cutoff(self) -> float:
        """Range in Å."""
        return max(part.cutoff for part in (self.two_body, self.soap) if part is not None)

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> GapPotential:
        """Run gap_fit on the labels of a dataset; threads as `forcewright.threads` says.

        Raises
        ------
        InputError
            If there is nothing to fit to, an energy of e0 is missing, or gap_fit fails.
        MissingExtraError
            If quippy-ase is not installed.
        """
        train = train.without_labels([_LABELS[name] for name, value in self.sigma if value is None])
        if not any(train.count_labels().values()):
            raise InputError("no frame has a label that has a sigma, so there is nothing to fit",
                             file=train.source or None)  # fmt: skip
        e0 = self.reference_energies(train)
        aliases = {group: f"g{index}" for index, group in enumerate(train.group_sizes)}
        with scratch_folder("gap-fit") as folder:
            write_training_file(
                train, folder / "train.extxyz", NAMES,
                prepare=lambda structure: closed_cell(structure, self.cutoff + _GAP_BETWEEN_IMAGES),
                group=aliases.__getitem__,
            )  # fmt: skip
            arguments = self.arguments("train.extxyz", e0, aliases, int(rng.integers(1, 2**31 - 1)))
            run(
                [gap_fit_program(), *arguments], folder=folder, log=folder / "gap_fit.log", threads=thread_count(),
                timeout_s=self.timeout_s, field="model",
            )  # fmt: skip
            log = (folder / "gap_fit.log").read_text(encoding="utf-8", errors="replace")
            return GapPotential(train.species, self.cutoff, collect(folder), log, {"model": self.model_dump()})

    def arguments(self, train: str, e0: Mapping[int, float], groups: Mapping[str, str], seed: int) -> list[str]:
        """Return the arguments of gap_fit.

        ``e0`` is the energy of an isolated atom of each species in eV, ``groups`` what each group is called in the
        training data at the path ``train``, ``seed`` that of the choice of sparse points.
        """
        energies = ":".join(f"{chemical_symbols[z]}:{energy!r}" for z, energy in sorted(e0.items()))
        parts = [_two_body(self.two_body)] if self.two_body is not None else []
        parts += [_soap(self.soap)] if self.soap is not None else []
        of_groups = [":".join([groups[name], *self._sigmas(name)]) for name in self.group_sigma if name in groups]
        return [
            f"at_file={train}", f"gap={{{' : '.join(parts)}}}", f"e0={{{energies}}}",
            f"default_sigma={{{' '.join(self._sigmas())}}}",
            *([f"config_type_sigma={{{':'.join(of_groups)}}}"] if of_groups else []),
            f"energy_parameter_name={NAMES.energy}", f"force_parameter_name={NAMES.forces}",
            f"virial_parameter_name={NAMES.virial}", f"sparse_jitter={self.sparse_jitter!r}",
            "do_copy_at_file=F", "sparse_separate_file=T", f"gp_file={PARAMETERS}", f"rnd_seed={seed}",
        ]  # fmt: skip

    def reference_energies(self, train: Dataset) -> dict[int, float]:
        """Return the energy of an isolated atom of each species in eV.

        Raises
        ------
        InputError
            If energies are given, but not those of all elements in the data.
        """
        if isinstance(self.e0, dict):
            symbols = [chemical_symbols[z] for z in train.species]
            if missing := [symbol for symbol in symbols if symbol not in self.e0]:
                raise InputError(f"gives no energy for {', '.join(missing)}; add it", field="model.e0")
            return {z: self.e0[symbol] for z, symbol in zip(train.species, symbols, strict=True)}
        if self.e0 == "zero" or not train.count_labels()["energy"]:
            return dict.fromkeys(train.species, 0.0)
        energies = isolated_or_fitted_energies(train)
        if self.e0 == "least_squares" and energies.isolated:
            others = [index for index in range(len(train)) if index not in set(energies.isolated)]
            energies = isolated_or_fitted_energies(train[others]) if others else energies
        return energies.per_species

    def _sigmas(self, group: str | None = None) -> list[str]:
        """Return the four numbers of gap_fit: energy, force, virial, and a Hessian that nobody has."""
        of_group = self.group_sigma.get(group) if group else None
        values = [getattr(of_group, name, None) or getattr(self.sigma, name) or 1.0 for name in _LABELS]  # 1.0: of none
        return [*(repr(float(value)) for value in values), "0.0"]


def gap_fit_program() -> str:
    """Return the path of the gap_fit that comes with quippy-ase; `MissingExtraError` where it is not installed."""
    spec = find_spec("quippy")
    program = Path(spec.origin).parent / "gap_fit" if spec and spec.origin else None
    if program is None or not program.is_file():
        raise MissingExtraError("quippy-ase", "gap", "fitting a GAP")
    return str(program)


def _two_body(part: TwoBody) -> str:
    return _described(
        "distance_2b", **part.model_dump(exclude={"theta"}), theta_uniform=part.theta, covariance_type="ard_se",
        sparse_method="uniform", add_species="T",
    )  # fmt: skip


def _soap(part: Soap) -> str:
    return _described("soap", **part.model_dump(), covariance_type="dot_product", add_species="T")


def _described(name: str, **values: Any) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in values.items())])
