"""Quantities of NMR against their definitions, worked by hand."""

import numpy as np
import pytest
from scipy import constants
from scipy.spatial.transform import Rotation

from forcewright.errors import InputError
from forcewright.properties.nuclear_resonance import MHZ_PER_AU_BARN, describe_field_gradient, describe_shielding


def _turned(*principal, seed=0):
    turn = Rotation.random(random_state=seed).as_matrix()
    return turn @ np.diag(principal) @ turn.T


def test_conventions_of_shielding():
    antisymmetric = np.array([[0, 3.0, -1], [-3, 0, 2], [1, -2, 0]])
    tensors = [_turned(100, 130, 190) + antisymmetric, _turned(10, 10, 40), _turned(5, 5, 5), _turned(100, 160, 190)]
    result = describe_shielding(tensors)
    np.testing.assert_allclose(result.isotropic, [140, 20, 5, 150])
    np.testing.assert_allclose(result.anisotropy, [75, 30, 0, -75], atol=1e-9)  # 190 - (100 + 130)/2; 100 is farthest
    np.testing.assert_allclose(result.reduced_anisotropy, [50, 20, 0, -50], atol=1e-9)
    np.testing.assert_allclose(result.asymmetry, [0.6, 0, 0, 0.6], atol=1e-9)
    np.testing.assert_allclose(result.span, [90, 30, 0, 90], atol=1e-9)
    np.testing.assert_allclose(result.skew, [3 * 10 / 90, 1, 0, -3 * 10 / 90], atol=1e-9)
    for tensor, values, axes in zip(tensors, result.principal, result.axes, strict=True):
        np.testing.assert_allclose(axes @ np.diag(values) @ axes.T, (tensor + tensor.T) / 2, atol=1e-9)
        assert np.linalg.det(axes) == pytest.approx(1)


def test_quadrupolar_coupling():
    result = describe_field_gradient(
        np.array([_turned(-0.1, -0.3, 0.4), _turned(0.1, 0.3, -0.4)]).reshape(2, 9), "27Al"
    )
    np.testing.assert_allclose(result.largest, [0.4, -0.4])
    np.testing.assert_allclose(result.asymmetry, [0.5, 0.5])
    np.testing.assert_allclose(result.coupling_MHz, MHZ_PER_AU_BARN * 0.1466 * np.array([0.4, -0.4]))
    unit = constants.physical_constants["atomic unit of electric field gradient"][0]
    assert constants.e * unit * 1e-28 / constants.h / 1e6 == pytest.approx(MHZ_PER_AU_BARN, rel=1e-8)
    assert result.axes[0] @ np.diag(result.principal[0]) @ result.axes[0].T == pytest.approx(_turned(-0.1, -0.3, 0.4))
    np.testing.assert_allclose(np.linalg.det(result.axes), 1)


def test_what_is_no_tensor_is_refused():
    with pytest.raises(InputError, match="29Si"):
        describe_field_gradient(np.eye(3)[None], "29Si")
    with pytest.raises(InputError, match="shape"):
        describe_shielding(np.zeros(3))
    with pytest.raises(InputError, match="finite"):
        describe_shielding(np.full((1, 9), np.nan))
