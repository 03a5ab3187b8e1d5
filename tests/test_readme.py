"""The README's code runs, in the order in which it stands there."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def namespace() -> dict[str, Any]:
    """What the README's Python blocks define, all run one after another."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S):
        exec(compile(block, str(README), "exec"), names)
    return names


def test_quick_start_samples_the_roll(namespace: dict[str, Any]) -> None:
    """The quick start ends with points near the data: within [-1.5, 1.5], spread over the plane."""
    points = np.asarray(namespace["new_points"])
    assert points.shape == (1000, 2)
    assert np.abs(points).max() < 1.5
    assert points.std() > 0.3


def test_quick_start_fits_fifteen_lines() -> None:
    """The first block is short enough to read at a glance."""
    first = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert first is not None
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 15


def test_replicas_of_the_readme_have_their_own_results(namespace: dict[str, Any]) -> None:
    """Eight replicas, eight runs: metrics [R, T], no two alike."""
    losses = namespace["metrics"]["loss"]
    assert losses.shape == (8, 500)
    assert len(np.unique(np.asarray(losses[:, -1]))) == 8


def test_logistic_of_the_readme_is_normalised(namespace: dict[str, Any]) -> None:
    """The example of an own likelihood integrates to one."""
    logistic = namespace["logistic"](0.5)
    x = np.linspace(-20.0, 20.0, 40_001, dtype=np.float32)
    log_prob = jax.vmap(lambda x: logistic.log_prob(np.zeros(1, np.float32), x))(x[:, None])
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob), x), 1.0, rtol=1e-4)
