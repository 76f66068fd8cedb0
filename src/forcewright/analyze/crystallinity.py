"""Similarity of each atom's surroundings to those in a reference crystal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from forcewright.analyze.frames import at_least, length, same_atoms
from forcewright.analyze.result import Axes, Result
from forcewright.descriptors.soap import Soap
from forcewright.errors import InputError
from forcewright.structure import FloatArray
from forcewright.trajectory import Frames


@dataclass(frozen=True, eq=False)
class Similarity(Result):
    """Averages over the frames; see `soap_similarity`.

    ===========  =============================================================================
    k            centers of the bins (bins,) of the distribution
    density      distribution of the similarity over the atoms (bins,), with integral 1
    mean         mean similarity in each frame (F,)
    crystalline  share of the atoms of each frame (F,) whose similarity is above ``threshold``
    last         similarity of each atom (N,) of the last frame
    threshold    similarity above which an atom counts as crystalline
    frames       number of frames
    ===========  =============================================================================
    """

    k: FloatArray
    density: FloatArray
    mean: FloatArray
    crystalline: FloatArray
    last: FloatArray
    threshold: float
    frames: int

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.k, self.density, color="black")
        ax.axvline(self.threshold, color="0.7", lw=0.8)
        ax.set(xlabel="similarity to the reference", ylabel="density", xlim=(0, 1), ylim=(0, None))


def soap_similarity(
    frames: Frames, reference: Frames, cutoff: float = 5.0, zeta: int = 4, combine: str = "mean",
    threshold: float = 0.6, n_max: int = 8, l_max: int = 6, sigma: float = 0.5, bins: int = 200,
) -> Similarity:  # fmt: skip
    """Compute the SOAP similarity of each atom to a reference crystal, a measure of crystallinity from 0 to 1.

    ``k(i, j) = (p_i · p_j / |p_i| |p_j|)^ζ`` compares the power spectra of the smoothed neighbor densities of atom i
    and of atom j of the reference (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013), eq. 36). Atom i is
    compared with the reference's atoms of its own species; the similarity is the mean over them (as in Xu et al.,
    Adv. Mater. 34, 2109139 (2022), for Ge-Sb-Te alloys) or the largest. Neighbors count less the farther they are, with
    a weight ``1 + 2x³ - 3x²``, x = r / cutoff, so that nothing jumps at the cutoff; the atom itself is left out. What
    counts as crystalline depends on cutoff, ζ and sigma: choose the threshold between the values of a crystal at the
    temperature and of the liquid. Power spectra by dscribe.

    Parameters
    ----------
    frames
        With periodic or open directions; the atoms keep their order.
    reference
        The crystal; every species of the frames must occur in it.
    cutoff
        Radius of the surroundings in Å.
    zeta
        Exponent ζ, which spreads similarities that are all near 1.
    combine
        ``"mean"`` or ``"max"`` over the atoms of the reference.
    threshold
        Similarity above which an atom counts as crystalline.
    n_max, l_max
        Numbers of radial functions and largest angular momentum.
    sigma
        Width of the Gaussian on each neighbor in Å.
    bins
        Number of bins of the distribution.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, the reference lacks a species, or an argument is invalid.
    MissingExtraError
        If dscribe is not installed.
    """
    length(cutoff, "cutoff"), at_least(zeta, 1, "zeta"), at_least(bins, 1, "bins")
    if combine not in ("mean", "max"):
        raise InputError(f"is {combine!r}; it must be 'mean' or 'max'", field="combine")
    crystal = next(same_atoms(reference)).structure
    # no weight on the atom itself, which is alike everywhere
    soap = Soap(tuple(np.unique(crystal.numbers).tolist()), cutoff, n_max, l_max, sigma, weighted=True)
    targets = soap.rows(crystal)
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts, means, shares = np.zeros(bins, dtype=np.int64), [], []
    for snapshot in same_atoms(frames, ordered=True):
        structure = snapshot.structure
        missing = np.setdiff1d(structure.numbers, crystal.numbers)
        if len(missing):
            raise InputError(f"holds no {chemical_symbols[missing[0]]}, which the frames hold", field="reference")
        spectra = soap.rows(structure)
        last = np.empty(len(structure))
        for number in np.unique(structure.numbers):
            mine, theirs = structure.numbers == number, crystal.numbers == number
            kernel = np.clip(spectra[mine] @ targets[theirs].T, 0.0, 1.0) ** zeta
            last[mine] = kernel.mean(axis=1) if combine == "mean" else kernel.max(axis=1)
        counts += np.histogram(last, edges)[0]
        means.append(float(last.mean()))
        shares.append(float((last > threshold).mean()))
    return Similarity(
        k=0.5 * (edges[1:] + edges[:-1]), density=counts * bins / counts.sum(), mean=np.array(means),
        crystalline=np.array(shares), last=last, threshold=float(threshold), frames=len(means),
    )  # fmt: skip
