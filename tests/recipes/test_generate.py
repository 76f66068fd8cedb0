"""Generate, select, split and statistics as a user meets them: configs, files, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from forcewright.data import read
from forcewright.errors import InputError
from forcewright.generation.steps import STEPS
from forcewright.recipes.generate import generate

EMT = {"ase": "ase.calculators.emt:EMT"}
CONFIG = {
    "structures": {"diamond": {"bulk": "C", "a_A": 3.549, "cubic": True, "repeat": 2}},
    "recipes": [
        {
            "kind": "x_vacancy", "species": "H", "center": 0, "group": "hv", "keep": True,
            "then": [{"kind": "rattle", "amplitudes_A": [0.02, 0.1], "count": 2}, {"kind": "volume_scan", "count": 3}],
        },
        {"kind": "x2_interstitial", "species": "H", "group": "h2i", "then": [{"kind": "strain", "largest": 0.04}]},
        {"kind": "random", "composition": {"C": 4, "H": 2}, "volume_per_atom_A3": [6, 10], "count": 2},
        {"kind": "dimers", "species": ["C", "H"], "distances_A": [0.6, 3.0], "count": 4},
    ],
    "seed": 3,
    "output": "made.extxyz",
}  # fmt: skip


def written(folder: Path, **changes: object) -> Path:
    path = folder / "generate.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


def test_a_config_becomes_a_file(tmp_path: Path) -> None:
    made = generate(written(tmp_path))
    assert made.group_sizes == {
        "dimers": 12, "h2i_strain": 1, "hv": 1, "hv_rattle": 4, "hv_volume_scan": 3, "random": 2
    }  # fmt: skip
    stored = read(tmp_path / "made.extxyz", require_energy=False)
    assert [s.content_hash for s in stored.structures] == [s.content_hash for s in made.structures]
    rattled = next(frame for frame in stored if frame.labels.group == "hv_rattle")
    parent = next(frame.structure for frame in stored if frame.labels.group == "hv")
    assert rattled.labels.info["parent"] == f"C62H-{parent.content_hash[:12]}"
    again = generate(written(tmp_path))
    assert again.content_hash == made.content_hash
    longer = generate(written(tmp_path, recipes=[*CONFIG["recipes"], {"kind": "unchanged"}]))  # type: ignore[misc]
    assert [s.content_hash for s in longer.structures][:-1] == [s.content_hash for s in made.structures]
    assert longer.groups[-1] == "diamond"


def test_relaxation_and_dynamics_use_any_force_field(tmp_path: Path) -> None:
    stage = {"ensemble": "nvt", "time_ps": 0.1, "timestep_fs": 5.0, "temperature_K": 300, "thermostat": "langevin"}
    dynamics = {"kind": "md", "potential": EMT, "stages": [stage], "count": 3, "spacing_fs": 20}
    recipes = [{"kind": "vacancy", "then": [{"kind": "relax", "potential": EMT, "then": [dynamics]}]}]
    structures = {"cu": {"bulk": "Cu", "cubic": True, "repeat": 2}}
    made = generate({"structures": structures, "recipes": recipes, "output": str(tmp_path / "md.extxyz")})
    assert made.group_sizes == {"cu_vacancy_relax_md": 3}
    assert len({labels.info["trajectory"] for labels in made.labels}) == 1
    times = [labels.info["time_fs"] for labels in made.labels]
    assert np.diff(times).min() >= 20


def test_a_ladder_of_densities(tmp_path: Path) -> None:
    stage = {"ensemble": "nvt", "temperature_K": 300, "time_ps": 0.06, "thermostat": "langevin", "timestep_fs": 2}
    dynamics = {"kind": "md", "potential": EMT, "stages": [stage], "count": 2, "spacing_fs": 20}
    content = {"structures": {"cu": {"bulk": "Cu", "cubic": True}}, "output": str(tmp_path / "ladder.extxyz")}
    made = generate({**content, "recipes": [{**dynamics, "volumes_per_atom_A3": [11, 12.5]}]})
    assert made.group_sizes == {"cu_md_11A3": 2, "cu_md_12.5A3": 2}
    np.testing.assert_allclose([s.volume / len(s) for s in made.structures], [11, 11, 12.5, 12.5])
    factors = generate({**content, "recipes": [{**dynamics, "volume_factors": [1.0]}]})
    np.testing.assert_allclose(factors[0].structure.volume, 3.61**3)
    for wrong in ({"volume_factors": [1.0]}, {"stages": [{"ensemble": "npt", "temperature_K": 300, "time_ps": 1}]}):
        with pytest.raises(InputError, match="give one of them|change the volume"):
            generate({**content, "recipes": [{**dynamics, "volumes_per_atom_A3": [11], **wrong}]})


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"kind": "ratle", "amplitudes_A": [1]}, ["recipes.0", "did you mean 'rattle'"]),
        ({"kind": "rattle"}, ["recipes.0.amplitudes_A", "is missing"]),
        ({"kind": "rattle", "amplitudes_A": [-1]}, ["recipes.0.amplitudes_A", "above 0"]),
        ({"kind": "rattle", "amplitudes_A": [0.1], "of": ["gold"]}, ["'gold'", "there are diamond"]),
        ({"kind": "unchanged", "then": [{"kind": "strain"}]}, ["recipes.0.then.0", "largest"]),
        ({"kind": "interstitial", "species": "H", "separations": 3}, ["recipes.0.separations", "far enough from all atoms"]),
        ({"kind": "random", "composition": {"C": 9}, "volume_per_atom_A3": [0.5, 1]}, ["recipes.0", "densest packing"]),
        ({"kind": "relax", "potential": "nowhere"}, ["nowhere"]),
    ],
)  # fmt: skip
def test_mistakes_are_sentences_and_leave_nothing(recipe: dict, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        generate(written(tmp_path, recipes=[recipe]))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "made.extxyz").exists()


def test_every_step_has_the_kind_it_is_listed_under() -> None:
    for name, step in STEPS.items():
        assert step.model_fields["kind"].default == name
        assert all(field.description for key, field in step.model_fields.items() if key != "kind")


def test_json_is_not_needed_for_provenance(tmp_path: Path) -> None:
    for labels in generate(written(tmp_path)).labels:
        assert json.loads(json.dumps(dict(labels.info))) == dict(labels.info)


@pytest.mark.parametrize(
    ("structures", "words"),
    [
        ([{"bulk": "C"}], r"field 'structures': .*expected a mapping, \{NAME: …\}"),
        ({"bulk": True}, r"field 'structures.bulk': is True: expected a mapping of a_A, bulk, .*repeat$"),
    ],
)
def test_what_is_no_mapping_is_answered_with_what_is(structures: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        generate(written(tmp_path, structures=structures))
