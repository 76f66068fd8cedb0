"""What Forcewright cites, as BibTeX; by the keys that citations have in reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

_NEURIPS = "Advances in Neural Information Processing Systems"

#: Type of the entry and its fields, by key. Authors are parted by "and", as BibTeX has them.
ENTRIES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "forcewright": ("misc", {
        "author": "{The Forcewright authors}",
        "title": "Forcewright: a workbench for machine-learned interatomic potentials",
    }),
    "xpot": ("article", {
        "author": "du Toit, Daniel F. Thomas and Deringer, Volker L.",
        "title": "Cross-platform hyperparameter optimization for machine learning interatomic potentials",
        "journal": "J. Chem. Phys.", "volume": "159", "pages": "024803", "year": "2023", "doi": "10.1063/5.0155618",
    }),
    "ase": ("article", {
        "author": "Hjorth Larsen, Ask and others", "title": "The atomic simulation environment",
        "journal": "J. Phys.: Condens. Matter", "volume": "29", "pages": "273002", "year": "2017",
        "doi": "10.1088/1361-648X/aa680e",
    }),
    "optuna": ("inproceedings", {
        "author": "Akiba, Takuya and others",
        "title": "Optuna: A next-generation hyperparameter optimization framework",
        "booktitle": "KDD", "year": "2019", "doi": "10.1145/3292500.3330701",
    }),
    "scikit-learn": ("article", {
        "author": "Pedregosa, F. and others", "title": "Scikit-learn: Machine learning in Python",
        "journal": "J. Mach. Learn. Res.", "volume": "12", "pages": "2825", "year": "2011",
    }),
    "ego": ("article", {
        "author": "Jones, Donald R. and Schonlau, Matthias and Welch, William J.",
        "title": "Efficient global optimization of expensive black-box functions", "journal": "J. Global Optim.",
        "volume": "13", "pages": "455", "year": "1998", "doi": "10.1023/A:1008306431147",
    }),
    "parego": ("article", {
        "author": "Knowles, Joshua",
        "title": "ParEGO: A hybrid algorithm with on-line landscape approximation for expensive multiobjective "
        "optimization problems",
        "journal": "IEEE Trans. Evol. Comput.", "volume": "10", "pages": "50", "year": "2006",
        "doi": "10.1109/TEVC.2005.851274",
    }),
    "dscribe": ("article", {
        "author": "Himanen, Lauri and others",
        "title": "DScribe: Library of descriptors for machine learning in materials science",
        "journal": "Comput. Phys. Commun.", "volume": "247", "pages": "106949", "year": "2020",
        "doi": "10.1016/j.cpc.2019.106949",
    }),
    "rematch": ("article", {
        "author": "De, Sandip and Bartók, Albert P. and Csányi, Gábor and Ceriotti, Michele",
        "title": "Comparing molecules and solids across structural and alchemical space",
        "journal": "Phys. Chem. Chem. Phys.", "volume": "18", "pages": "13754", "year": "2016",
        "doi": "10.1039/C6CP00415F",
    }),
    "umap": ("article", {
        "author": "McInnes, Leland and Healy, John and Saul, Nathaniel and Großberger, Lukas",
        "title": "UMAP: Uniform manifold approximation and projection", "journal": "J. Open Source Softw.",
        "volume": "3", "pages": "861", "year": "2018", "doi": "10.21105/joss.00861",
    }),
    "hammersley": ("article", {
        "author": "Hammersley, J. M.", "title": "Monte Carlo methods for solving multivariable problems",
        "journal": "Ann. N. Y. Acad. Sci.", "volume": "86", "pages": "844", "year": "1960",
        "doi": "10.1111/j.1749-6632.1960.tb42846.x",
    }),
    "ace": ("article", {
        "author": "Drautz, Ralf",
        "title": "Atomic cluster expansion for accurate and transferable interatomic potentials",
        "journal": "Phys. Rev. B", "volume": "99", "pages": "014104", "year": "2019",
        "doi": "10.1103/PhysRevB.99.014104",
    }),
    "pace": ("article", {
        "author": "Lysogorskiy, Yury and others",
        "title": "Performant implementation of the atomic cluster expansion (PACE) and application to "
        "copper and silicon",
        "journal": "npj Comput. Mater.", "volume": "7", "pages": "97", "year": "2021",
        "doi": "10.1038/s41524-021-00559-9",
    }),
    "pacemaker": ("article", {
        "author": "Bochkarev, Anton and Lysogorskiy, Yury and Menon, Sarath and Qamar, Minaam and Mrovec, Matous and "
        "Drautz, Ralf",
        "title": "Efficient parametrization of the atomic cluster expansion", "journal": "Phys. Rev. Mater.",
        "volume": "6", "pages": "013804", "year": "2022", "doi": "10.1103/PhysRevMaterials.6.013804",
    }),
    "zbl": ("book", {
        "author": "Ziegler, J. F. and Biersack, J. P. and Littmark, U.",
        "title": "The Stopping and Range of Ions in Solids", "publisher": "Pergamon", "year": "1985",
    }),
    "obs": ("inproceedings", {
        "author": "Hassibi, Babak and Stork, David G.",
        "title": "Second order derivatives for network pruning: Optimal brain surgeon", "booktitle": _NEURIPS,
        "volume": "5", "pages": "164", "year": "1993",
    }),
    "numba": ("inproceedings", {
        "author": "Lam, Siu Kwan and Pitrou, Antoine and Seibert, Stanley",
        "title": "Numba: A LLVM-based Python JIT compiler", "booktitle": "LLVM-HPC", "year": "2015",
        "doi": "10.1145/2833157.2833162",
    }),
    "grades": ("article", {
        "author": "Lysogorskiy, Yury and Bochkarev, Anton and Mrovec, Matous and Drautz, Ralf",
        "title": "Active learning strategies for atomic cluster expansion models", "journal": "Phys. Rev. Mater.",
        "volume": "7", "pages": "043801", "year": "2023", "doi": "10.1103/PhysRevMaterials.7.043801",
    }),
    "maxvol": ("incollection", {
        "author": "Goreinov, S. A. and Oseledets, I. V. and Savostyanov, D. V. and Tyrtyshnikov, E. E. and "
        "Zamarashkin, N. L.",
        "title": "How to find a good submatrix", "booktitle": "Matrix Methods: Theory, Algorithms and Applications",
        "publisher": "World Scientific", "year": "2010",
    }),
    "snap": ("article", {
        "author": "Thompson, A. P. and Swiler, L. P. and Trott, C. R. and Foiles, S. M. and Tucker, G. J.",
        "title": "Spectral neighbor analysis method for automated generation of quantum-accurate interatomic "
        "potentials",
        "journal": "J. Comput. Phys.", "volume": "285", "pages": "316", "year": "2015",
        "doi": "10.1016/j.jcp.2014.12.018",
    }),
    "qsnap": ("article", {
        "author": "Wood, Mitchell A. and Thompson, Aidan P.",
        "title": "Extending the accuracy of the SNAP interatomic potential form", "journal": "J. Chem. Phys.",
        "volume": "148", "pages": "241721", "year": "2018", "doi": "10.1063/1.5017641",
    }),
    "lammps": ("article", {
        "author": "Thompson, A. P. and others",
        "title": "LAMMPS - a flexible simulation tool for particle-based materials modeling",
        "journal": "Comput. Phys. Commun.", "volume": "271", "pages": "108171", "year": "2022",
        "doi": "10.1016/j.cpc.2021.108171",
    }),
    "gap": ("article", {
        "author": "Bartók, Albert P. and Payne, Mike C. and Kondor, Risi and Csányi, Gábor",
        "title": "Gaussian approximation potentials: The accuracy of quantum mechanics, without the electrons",
        "journal": "Phys. Rev. Lett.", "volume": "104", "pages": "136403", "year": "2010",
        "doi": "10.1103/PhysRevLett.104.136403",
    }),
    "soap": ("article", {
        "author": "Bartók, Albert P. and Kondor, Risi and Csányi, Gábor",
        "title": "On representing chemical environments", "journal": "Phys. Rev. B", "volume": "87",
        "pages": "184115", "year": "2013", "doi": "10.1103/PhysRevB.87.184115",
    }),
    "quip": ("article", {
        "author": "Klawohn, Sascha and Darby, James P. and Kermode, James R. and Csányi, Gábor and Caro, Miguel A. "
        "and Bartók, Albert P.",
        "title": "Gaussian approximation potentials: Theory, software implementation and application examples",
        "journal": "J. Chem. Phys.", "volume": "159", "pages": "174108", "year": "2023",
        "doi": "10.1063/5.0160898",
    }),
    "schnet": ("article", {
        "author": "Schütt, K. T. and Sauceda, H. E. and Kindermans, P.-J. and Tkatchenko, A. and Müller, K.-R.",
        "title": "SchNet - A deep learning architecture for molecules and materials", "journal": "J. Chem. Phys.",
        "volume": "148", "pages": "241722", "year": "2018", "doi": "10.1063/1.5019779",
    }),
    "painn": ("inproceedings", {
        "author": "Schütt, Kristof and Unke, Oliver and Gastegger, Michael",
        "title": "Equivariant message passing for the prediction of tensorial properties and molecular spectra",
        "booktitle": "ICML", "year": "2021",
    }),
    "tensornet": ("inproceedings", {
        "author": "Simeon, Guillem and De Fabritiis, Gianni",
        "title": "TensorNet: Cartesian tensor representations for efficient learning of molecular potentials",
        "booktitle": _NEURIPS, "volume": "36", "year": "2023",
    }),
    "nequip": ("article", {
        "author": "Batzner, Simon and others",
        "title": "E(3)-equivariant graph neural networks for data-efficient and accurate interatomic potentials",
        "journal": "Nat. Commun.", "volume": "13", "pages": "2453", "year": "2022",
        "doi": "10.1038/s41467-022-29939-5",
    }),
    "mace": ("inproceedings", {
        "author": "Batatia, Ilyes and Kovács, D. P. and Simm, G. N. C. and Ortner, Christoph and Csányi, Gábor",
        "title": "MACE: Higher order equivariant message passing neural networks for fast and accurate force fields",
        "booktitle": _NEURIPS, "volume": "35", "year": "2022",
    }),
    "graph-pes": ("misc", {
        "author": "Gardner, John L. A.", "title": "graph-pes: train and use graph-based potential energy surfaces",
    }),
    "sgdml": ("article", {
        "author": "Chmiela, Stefan and Sauceda, Huziel E. and Müller, Klaus-Robert and Tkatchenko, Alexandre",
        "title": "Towards exact molecular dynamics simulations with machine-learned force fields",
        "journal": "Nat. Commun.", "volume": "9", "pages": "3887", "year": "2018",
        "doi": "10.1038/s41467-018-06169-2",
    }),
    "sgdml package": ("article", {
        "author": "Chmiela, Stefan and Sauceda, Huziel E. and Poltavsky, Igor and Müller, Klaus-Robert and "
        "Tkatchenko, Alexandre",
        "title": "sGDML: Constructing accurate and data efficient molecular force fields using machine learning",
        "journal": "Comput. Phys. Commun.", "volume": "240", "pages": "38", "year": "2019",
        "doi": "10.1016/j.cpc.2019.02.007",
    }),
}  # fmt: skip

#: What BibTeX reads as commands.
_SPECIAL = re.compile(r"([#$%&_])")


def bibtex(citations: Iterable[Mapping[str, str]]) -> str:
    """Return citations, as reports have them, as BibTeX.

    Parameters
    ----------
    citations
        Mappings with ``key`` and ``text``. Those whose key is not known, such as of the family of another package,
        become a note.
    """
    return "\n".join(_entry(citation["key"], citation["text"]) for citation in citations)


def _entry(key: str, text: str) -> str:
    kind, fields = ENTRIES.get(key, ("misc", {"note": _plain(text)}))
    lines = [f"  {name} = {{{_protected(name, value)}}}," for name, value in fields.items()]
    label = re.sub(r"[^\w-]+", "-", key).strip("-") or "citation"
    return "\n".join([f"@{kind}{{{label},", *lines, "}", ""])


def _protected(name: str, value: str) -> str:
    """Return a value as BibTeX takes it: titles keep their capitals."""
    if name == "doi":
        return value
    escaped = _SPECIAL.sub(r"\\\1", value)
    return f"{{{escaped}}}" if name == "title" else escaped


def _plain(text: str) -> str:
    """Return a text without what would end the field that it stands in."""
    return re.sub(r"[{}\\]", "", " ".join(text.split()))
