"""The experiments, end to end and small: what they leave on the disk, and how they refuse."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import capacity, latent_grid, quality, reconstruction, swiss_roll

SMALL = {"hidden_dim": 8, "depth": 2, "steps": 20}
PICTURES = ("data", "loss", "reconstruction", "latent_grid", "latent_evolution", "latent_space",
            "samples")  # fmt: skip
NUMBERS = ("final_loss", "final_recon", "final_kl", "kl_per_dim", "sample_distance",
           "sample_coverage", "grid_distance", "grid_coverage", "steps_per_second",
           "seconds")  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    swiss_roll.main(swiss_roll.Settings(out=folder, **SMALL))
    return folder


def test_run_leaves_figures_of_readme_width(run_dir: Path) -> None:
    """Every figure is a PNG of at most 800 pixels; the animation has a frame per tenth."""
    for name in PICTURES:
        with Image.open(run_dir / f"{name}.png") as picture:
            assert 300 < picture.width <= 800
    with Image.open(run_dir / "latent_evolution.gif") as animation:
        assert animation.n_frames == 11


def test_summary_agrees_with_the_metrics(run_dir: Path) -> None:
    """The teaching form: final loss = recon + beta * kl, and each is the mean of its column."""
    summary = json.loads((run_dir / "summary.json").read_text())
    assert set(NUMBERS) <= set(summary)
    table = np.genfromtxt(run_dir / "metrics.csv", delimiter=",", names=True)
    assert table.dtype.names == ("step", "loss", "recon", "kl")
    np.testing.assert_array_equal(table["step"], np.arange(1, 21))
    for name in ("loss", "recon", "kl"):
        np.testing.assert_allclose(summary[f"final_{name}"], table[name].mean(), rtol=1e-5)
    total = summary["final_recon"] + 0.01 * summary["final_kl"]
    np.testing.assert_allclose(summary["final_loss"], total, rtol=1e-5)


def test_a_second_run_moves_the_first_aside(tmp_path: Path) -> None:
    """Nothing on the disk is lost: the older run lives on under another name, file by file."""
    settings = swiss_roll.Settings(out=tmp_path / "run", **SMALL)
    swiss_roll.main(settings)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    swiss_roll.main(settings)
    assert (tmp_path / "run.1" / "checkpoint.safetensors").read_bytes() == before
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_other_latent_dimensions_draw(latent_dim: int, tmp_path: Path) -> None:
    """A line for one latent dimension, a chosen plane for three."""
    folder = tmp_path / "run"
    swiss_roll.main(swiss_roll.Settings(out=folder, latent_dim=latent_dim, **SMALL))
    latent_grid.main(
        latent_grid.Settings(folder, size=5, extent=3.0, dims=(0, max(1, latent_dim - 1)))
    )
    reconstruction.main(reconstruction.Settings(folder, points=50))


def test_a_finished_run_can_be_made_longer(run_dir: Path, tmp_path: Path) -> None:
    """--resume with more steps goes on where the run ended."""
    folder = shutil.copytree(run_dir, tmp_path / "run")
    swiss_roll.main(swiss_roll.Settings(out=folder, **SMALL | {"steps": 30, "resume": True}))
    assert len((folder / "metrics.csv").read_text().splitlines()) == 31


def test_bound_in_nats(tmp_path: Path) -> None:
    """With a likelihood the loss is the negative ELBO: kl - recon at the default beta of 1."""
    folder = tmp_path / "run"
    swiss_roll.main(swiss_roll.Settings(out=folder, likelihood="normal", **SMALL))
    summary = json.loads((folder / "summary.json").read_text())
    bound = summary["final_kl"] - summary["final_recon"]
    np.testing.assert_allclose(summary["final_loss"], bound, rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--likelihood", "bernoulli"], "data in [0, 1]"),
        (["--likelihood", "normol"], "did you mean normal"),
        (["--steps", "-5"], "num_steps must be at least 1"),
        (["--latent-dim", "0"], "latent_dim must be at least 1"),
        (["--hidden-dim", "0"], "hidden must be at least 1"),
        (["--learning-rate", "0"], "learning_rate must be above 0"),
        (["--beta", "-1"], "beta must be"),
        (["--resume"], "missing"),
    ],
)
def test_wrong_flags_are_one_line(
    flags: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit code 2 and one line on stderr that says what to do."""
    monkeypatch.setattr(sys, "argv", ["swiss_roll", "--out", str(tmp_path / "run"), *flags])
    with pytest.raises(SystemExit) as stopped:
        swiss_roll.run(swiss_roll.main, swiss_roll.Settings)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    """As a process: no traceback, exit code 2, the folder named, its content untouched."""
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    command = [sys.executable, "-m", "experiments.reconstruction", str(tmp_path)]
    root = Path(__file__).parents[1]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"


def test_distance_and_coverage_of_the_roll_itself() -> None:
    """Points on the roll are at distance 0 and cover all of it; half of them, half of it."""
    curve = quality.roll_curve(500)
    distance, coverage = quality.distance_and_coverage(curve)
    assert distance < 2e-3
    assert coverage == 1.0
    _, half = quality.distance_and_coverage(curve[:250])
    np.testing.assert_allclose(half, 0.5, atol=0.02)
    shifted, _ = quality.distance_and_coverage(curve + np.array([10.0, 0.0]))
    assert 8.0 < shifted < 12.0


def test_roll_curve_is_evenly_spaced() -> None:
    """Neighbours on the curve are equally far apart, so coverage is a share of length."""
    gaps = np.linalg.norm(np.diff(quality.roll_curve(), axis=0), axis=1)
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=1e-3)


def test_latent_points_span_the_chosen_plane() -> None:
    """The corners lie at the extent in the two dimensions chosen, the others at 0."""
    points = quality.latent_points(3, 2.0, 4, (1, 3))
    assert points.shape == (9, 4)
    np.testing.assert_array_equal(points[0], [0, -2, 0, -2])
    np.testing.assert_array_equal(points[1], [0, -2, 0, 0])
    np.testing.assert_array_equal(points[-1], [0, 2, 0, 2])
    assert quality.latent_points(3, 2.0, 1).shape == (9, 1)
    with pytest.raises(ValueError, match="two different dimensions"):
        quality.latent_points(3, 2.0, 4, (1, 4))


def test_capacity_keeps_its_cells(tmp_path: Path) -> None:
    """A table, a figure, and cells that a second call finds instead of training again."""
    settings = capacity.Settings((4,), (1, 2), seeds=2, steps=10, out=tmp_path)
    capacity.main(settings)
    table = (tmp_path / "table.md").read_text()
    cells = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(cells) == 2
    capacity.main(settings)
    assert (tmp_path / "table.md").read_text() == table
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} == cells
