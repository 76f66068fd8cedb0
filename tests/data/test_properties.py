"""Properties beside energies: targets, units, and values from whatever file holds them."""

import math

import numpy as np
import pytest

from forcewright.configs import validate
from forcewright.data import Target, read_property
from forcewright.data.eigenvalues import Eigenvalues
from forcewright.data.properties import Grid, tensor_parts
from forcewright.data.property_units import unit_factor
from forcewright.errors import InputError

FRAME = '2\nProperties=species:S:1:pos:R:3{columns} {info} pbc="F F F"\nO 0 0 0 {first}\nH 0 0 1 {second}\n'


def written(folder, *frames, name="set.xyz"):
    """Return a file of frames of two atoms, each with the words that are given."""
    blank = {"columns": "", "info": "", "first": "", "second": ""}
    path = folder / name
    path.write_text("".join(FRAME.format(**(blank | frame)) for frame in frames))
    return path


@pytest.mark.parametrize(
    ("irreps", "components"),
    [("0e", 1), ("0o", 1), ("1o", 3), ("1e", 3), ("2e", 9), ("0e+2e", 9), ("2e + 0e+1e", 9), ("1x0e", 1), ("1e+2e", 9)],
)
def test_irreps_say_how_many_numbers_stand_on_file(irreps, components):
    assert Target(name="x", irreps=irreps).components == components


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"name": "shielding", "irreps": "0e+1o+2e"}, "axial vector, 1e"),
        ({"name": "dipole", "irreps": "1e"}, "polar vector, irreps 1o"),
        ({"name": "efg", "irreps": "0e+2e"}, "without trace"),
        ({"name": "x", "irreps": "3e"}, "orders up to 2"),
        ({"name": "x", "irreps": "1o+1o"}, "twice"),
        ({"name": "x", "irreps": "vector"}, "sum of irreps"),
        ({"name": "x"}, "neither irreps nor a grid"),
        ({"name": "shieldin"}, "did you mean 'shielding'"),
        ({"name": "x", "irreps": "0e", "unit": "debie"}, "did you mean 'debye'"),
        ({"name": "dipole", "unit": "ppm"}, "measured in e"),
        ({"name": "x", "irreps": "0e", "mask": "has"}, "per: atom"),
        ({"name": "dos", "grid": {"low": 0, "high": 1, "step": 0.3}}, "write high: 0.9"),
        ({"name": "dos", "grid": {"low": 1, "high": 0, "step": 0.1}}, "must lie below"),
        ({"name": "x", "irreps": "0e", "smearing_eV": 0.1}, "grid"),
        ({"name": "dos", "grid": {"low": 0, "high": 1, "step": 0.1}, "smearing_eV": -1}, "greater than 0"),
    ],
)
def test_targets_that_contradict_themselves_are_refused(content, said):
    with pytest.raises(InputError, match=said):
        validate(Target, content)


def test_known_properties_need_no_more_than_their_name():
    shielding = Target(name="shielding", mask="has_ms")
    assert (shielding.where, shielding.irreps, shielding.per, shielding.unit) == ("ms", "0e+1e+2e", "atom", "ppm")
    assert Target(name="shielding", irreps="0e", key="CS").components == 1  # of which the isotropic part alone is known


@pytest.mark.parametrize(
    ("unit", "wanted", "factor"),
    [  # CODATA 2014
        ("debye", "e*Å", 0.20819434), ("D", "a.u.", 0.39343031), ("a.u.", "e Å", 0.52917721067),
        ("e*a0", "C*m", 8.478353552e-30), ("bohr^3", "Å³", 0.14818471), ("a.u.", "Å^3", 0.14818471),
        ("e^2*Å^2/eV", "Å^3", 14.39964548), ("a.u.", "V/m^2", 9.717362356e21), ("e*bohr^2", "debye*Å", 1.3450342),
        ("1/hartree", "states/eV", 0.0367493), ("cm^-1", "meV", 0.1239842),
    ],
)  # fmt: skip
def test_units_convert_by_published_factors(unit, wanted, factor):
    assert unit_factor(unit, wanted) == pytest.approx(factor, rel=1e-6)


def test_units_of_different_things_do_not_convert():
    with pytest.raises(InputError, match="a unit of shielding"):
        unit_factor("ppm", "e*Å")


def test_parts_of_a_tensor_are_its_irreps():
    tensor = np.arange(9.0).reshape(1, 3, 3) ** 2
    parts = dict(tensor_parts(tensor))
    assert sum(parts.values()) == pytest.approx(tensor)
    assert parts[1] == pytest.approx(-parts[1].swapaxes(1, 2))
    assert np.trace(parts[2][0]) == pytest.approx(0) and parts[2] == pytest.approx(parts[2].swapaxes(1, 2))


def test_values_come_from_info_arrays_and_comments(tmp_path):
    path = written(tmp_path, {"info": 'mu="1 2 3" alpha="_JSON [[1,0,0],[0,2,0],[0,0,3]]"', "columns": ":q:R:1",
                              "first": "-1", "second": "1"})  # fmt: skip
    assert read_property(path, Target(name="dipole", key="mu")).values[0].tolist() == [1, 2, 3]
    tensor = read_property(path, Target(name="polarizability", key="alpha"))
    assert tensor.values[0].tolist() == [1, 0, 0, 0, 2, 0, 0, 0, 3] and tensor.frames == ((str(path), 0),)
    assert read_property(path, Target(name="charges", key="q")).values[0].tolist() == [[-1], [1]]
    plain = tmp_path / "plain.xyz"
    plain.write_text("1\n  charge  0.00  dipole   0.5 -1.0D-1 0.0\nO 0 0 0\n")
    assert read_property(plain, Target(name="dipole")).values[0].tolist() == [0.5, -0.1, 0]


@pytest.mark.parametrize(
    ("frame", "target", "said"),
    [
        ({}, {"name": "dipole"}, "'dipole': is missing"),
        ({"info": 'dipole="1 2"'}, {"name": "dipole"}, r"\(2,\), expected 3 numbers"),
        ({"info": 'dipole="1 nan 2"'}, {"name": "dipole"}, "not finite"),
        ({"info": "dipole=T"}, {"name": "dipole"}, "not made of numbers"),
        ({"info": 'a="1 2 3 4 5 6"'}, {"name": "polarizability", "key": "a"}, "write all nine"),
        ({"info": 'd="1 2 3 4 5 6"'}, {"name": "dipole", "key": "d"}, "per: atom"),
        ({"info": 'q="1 2 3"'}, {"name": "charges", "key": "q"}, r"expected \(2, 1\)"),
        ({"info": 'd="1 2 3"'}, {"name": "dos", "key": "d", "grid": {"low": 0, "high": 1, "step": 0.1}}, "high: 0.2"),
        ({"info": 'q="1 2" m="T F T"'}, {"name": "charges", "key": "q", "mask": "m"}, "3 entries for 2 atoms"),
        ({"info": 'q="1 2" m="1 5"'}, {"name": "charges", "key": "q", "mask": "m"}, "truth values"),
        ({"info": 'q="nan 2" m="T F"'}, {"name": "charges", "key": "q", "mask": "m"}, "of atom 0 is not finite"),
    ],
)
def test_bad_values_are_refused_by_file_frame_and_field(tmp_path, frame, target, said):
    sound = {"info": 'dipole="0 0 0" a="1 0 0 0 1 0 0 0 1" d="0 0 0" q="1 2" m="T T"'}
    if "grid" in target:
        sound = {"info": f'd="{"0 " * 11}"'}
    path = written(tmp_path, sound, frame)
    with pytest.raises(InputError, match=said) as caught:
        read_property(path, Target(**target))
    assert caught.value.frame == 1 and str(caught.value.file) == str(path) and caught.value.field
    kept = read_property(path, Target(**target), strict=False)
    assert len(kept) == 1 and [error.frame for error in kept.left_out] == [1]


def test_what_is_masked_may_be_anything(tmp_path):
    path = written(tmp_path, {"info": 'q="nan 2" m="F T"'})
    charges = read_property(path, Target(name="charges", key="q", mask="m"))
    assert charges.stacked().tolist() == [[2]] and charges.mask[0].tolist() == [False, True]


def test_npz_beside_structures_holds_values_by_frame_or_atom(tmp_path):
    path = written(tmp_path, {}, {}, {})
    np.savez(tmp_path / "set.npz", d=np.arange(9.0).reshape(3, 3), q=np.arange(6.0), c_1=np.ones((2, 1)),
             short=np.zeros((2, 3)))  # fmt: skip
    beside = {"file": tmp_path / "{stem}.npz"}
    assert read_property(path, Target(name="dipole", key="d", **beside)).values[1].tolist() == [3, 4, 5]
    assert read_property(path, Target(name="charges", key="q", **beside)).values[2].tolist() == [[4], [5]]
    assert len(read_property(path, Target(name="charges", key="c_{frame}", **beside), strict=False)) == 1
    with pytest.raises(InputError, match="expected 3 rows"):
        read_property(path, Target(name="dipole", key="short", **beside))


def test_npz_of_one_molecule_holds_further_arrays(tmp_path):
    path = tmp_path / "molecule.npz"
    np.savez(path, z=[8, 1], R=np.arange(12.0).reshape(2, 2, 3), r_unit="Ang", e_unit="eV", D=[[1, 2, 3], [4, 5, 6]])
    assert read_property(path, Target(name="dipole", key="D")).values[1].tolist() == [4, 5, 6]


def test_density_of_states_holds_the_states(tmp_path):
    values = np.array([[[-1.0, 0.5, 2.0], [-0.5, 0.0, 1.0]]])
    states = Eigenvalues.of(values, [0.25, 0.75], fermi=0.4, electrons=4)
    energies = np.linspace(-6, 6, 1201)
    density, number = states.density(energies, 0.3), states.cumulative(energies, 0.3)
    assert np.trapezoid(density, energies) == pytest.approx(6) and number[-1] == pytest.approx(6)
    assert np.gradient(number, energies)[1:-1] == pytest.approx(density[1:-1], abs=1e-3)
    by_hand = [w * (1 + math.erf(-e / 0.3 / 2**0.5)) for w, row in ((0.25, values[0, 0]), (0.75, values[0, 1]))
               for e in row]  # fmt: skip
    assert number[600] == pytest.approx(sum(by_hand))
    assert states.highest_occupied() == 0.5
    assert states.density(energies - 0.4, 0.3, zero=0.4) == pytest.approx(density)


def test_density_of_states_of_a_target_comes_of_eigenvalues(tmp_path):
    path = written(tmp_path, {"info": "ef=0.5 n=2"}, {"info": "ef=1 n=2"})
    np.savez(tmp_path / "e.npz", e_0=[[0.0, 1.0]], e_1=[[[0.0, 1.0], [0.0, 2.0]]], w_0=[1.0], w_1=[0.5, 0.5])
    keys = {"values": "e_{frame}", "weights": "w_{frame}", "fermi": "ef", "electrons": "n"}
    target = Target(name="dos", grid={"low": -5, "high": 5, "step": 0.1, "zero": "fermi"}, smearing_eV=0.2,
                    file=tmp_path / "e.npz", eigenvalues=keys, reduce="mean")  # fmt: skip
    density = read_property(path, target)
    assert density.values[0].sum() * 0.1 == pytest.approx(2)  # two states for each spin, over two atoms
    assert target.grid.points[density.values[0].argmax()] in (pytest.approx(-0.5), pytest.approx(0.5))
    assert density.eigenvalues[1].electrons == 2
    with pytest.raises(InputError, match="add up to 0.5"):
        read_property(path, target.model_copy(update={"eigenvalues": validate(type(target.eigenvalues),
                                                                              keys | {"weights": "w_1"})}))  # fmt: skip


def test_smearing_a_density_on_file_keeps_its_integral(tmp_path):
    rough = np.zeros((1, 101))
    rough[0, [3, 50, 98]] = 1
    path = written(tmp_path, {})
    np.savez(tmp_path / "set.npz", dos=rough)
    grid = Grid(low=0, high=10, step=0.1)
    target = Target(name="dos", grid=grid, smearing_eV=0.3, file=tmp_path / "{stem}.npz")
    values = read_property(path, target).values[0]
    assert values.sum() == pytest.approx(3)
    expected = 0.1 * np.exp(-0.5 * ((grid.points - 5) / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    assert values[30:70] == pytest.approx(expected[30:70], abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"weights": [0.5, 0.4]}, "add up to 0.9"), ({"electrons": 5}, "hold 4"), ({"fermi": np.nan}, "finite"),
     ({"occupations": [1.0]}, "occupations"), ({"values": [[[0.0, np.inf]] * 2]}, "infinity")],
)  # fmt: skip
def test_eigenvalues_that_contradict_themselves_are_refused(changed, said):
    with pytest.raises(InputError, match=said):
        Eigenvalues.of(**{"values": [[[0.0, 1.0], [0.0, 2.0]]], "weights": [0.5, 0.5], **changed})


def test_nine_energies_are_no_tensor(tmp_path):
    path = written(tmp_path, {"info": 'd="1 2 3 4 5 6 7 8 9"'})
    target = Target(name="dos", key="d", grid={"low": -2, "high": 2, "step": 0.5, "zero": "fermi"})
    assert read_property(path, target).values[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
