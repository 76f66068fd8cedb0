from __future__ import annotations

import pytest
from single_process import stay_in_process


@pytest.fixture(autouse=True)
def _light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare studies a second of processes and figures; tests marked ``whole`` do everything as users do."""
    if not request.node.get_closest_marker("whole"):
        stay_in_process(monkeypatch, drawn=request.node.get_closest_marker("drawn") is not None)
