"""likelihood_table and objectives, small: what they write, and what they refuse."""

import numpy as np
import pytest

from experiments import likelihood_table, objectives
from experiments.published import ENTRIES, eight_rates
from vae_jax.checkpoint import read_json
from vae_jax.data.images import Images


def fake_mnist(name, data_dir):
    """Images of random grey pixels (bits where the set is binary), a few of them."""
    grey = np.random.default_rng(0).integers(0, 256, (240, 28, 28, 1)).astype(np.uint8)
    values = (grey > 127).astype(np.uint8) if "binarized" in name else grey
    return Images(name, values[:200], values[200:])


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(likelihood_table, "load_images", fake_mnist)


def test_the_likelihood_table_keeps_its_rows(small, tmp_path, capsys):
    """A markdown row with the published value, ours and its error; a second call reads it back."""
    settings = likelihood_table.Settings(
        rows=("vae",), seeds=2, budget=0.001, max_samples=4, out=tmp_path
    )
    likelihood_table.main(settings)
    (path,) = tmp_path.glob("*.json")
    found = read_json(path)
    assert (found["epochs"], found["whole"], len(found["seeds"])) == (1, 500, 2)
    text = (tmp_path / "table.md").read_text()
    assert "89.78" in text
    assert "1 of 500 epochs" in text
    nll = np.array([seed["nll"] for seed in found["seeds"]])
    assert f"{nll.mean():.2f} ± {nll.std(ddof=1) / 2**0.5:.2f} (2 seeds)" in text
    written = path.stat().st_mtime_ns
    likelihood_table.main(settings)
    assert path.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="No row is named vea"):
        likelihood_table.main(likelihood_table.Settings(rows=("vea",), out=tmp_path))
    with pytest.raises(ValueError, match="budget"):
        likelihood_table.main(likelihood_table.Settings(budget=0.0, out=tmp_path))


def test_the_papers_protocol_is_built_as_it_says():
    """Glorot weights, biases 0 but for the output's logit of the mean; the learning rate falls
    from 1e-3 to 1e-4 in eight steps."""
    import jax

    images = fake_mnist("mnist", None)
    train, test = ENTRIES["iwae-k5"].train_and_test(images)
    assert train.shape == (200, 784)
    assert set(np.unique(test)) == {0.0, 1.0}
    problem = ENTRIES["iwae-k5"].build(train, 3280)
    params = problem.vae.init(jax.random.key(0))
    layers = params["decoder"]["layers"]
    limit = (6 / (200 + 784)) ** 0.5
    assert 0.99 * limit < np.abs(layers["out"]["kernel"]).max() <= limit
    assert np.all(layers["hidden_0"]["bias"] == 0)
    mean = np.clip(train.mean(axis=0) / 255, 0.001, 0.999)
    np.testing.assert_allclose(layers["out"]["bias"], np.log(mean / (1 - mean)), rtol=1e-4)
    rates = 1e-3 * np.asarray(jax.vmap(eight_rates(3280))(np.arange(3280)))
    wanted = np.repeat([10, 7.2, 5.2, 3.7, 2.7, 1.9, 1.4, 1.0], [3**i for i in range(8)])
    np.testing.assert_allclose(rates, 1e-4 * wanted, rtol=0.02)
    optimizer = problem.optimizer(0.5)
    updates, _ = optimizer.update({"w": np.ones(1)}, optimizer.init({"w": np.ones(1)}))
    np.testing.assert_allclose(updates["w"], -0.5, rtol=1e-3)


def measured(folder, monkeypatch, data, kinds):
    """The table of objectives for these kinds on one data set."""
    tasks = objectives.tasks()
    monkeypatch.setattr(objectives, "tasks", lambda: {data: tasks[data]})
    monkeypatch.setattr(objectives, "KINDS", {name: objectives.KINDS[name] for name in kinds})
    objectives.main(objectives.Settings(steps=5, hidden_dim=4, seeds=2, samples=4, out=folder))
    assert (folder / "objectives.png").stat().st_size > 10_000
    return (folder / "objectives.md").read_text()


def test_a_kind_of_training_is_measured_and_drawn(tmp_path, monkeypatch):
    """objectives: a row with NLL, its error, KL and active units, and the figure."""
    text = measured(tmp_path, monkeypatch, "Swiss roll", ["VQ"])
    assert "| Swiss roll | VQ |" in text
    assert "nan" not in text


@pytest.mark.slow
@pytest.mark.parametrize("data", ["Swiss roll", "digits"])
def test_every_kind_of_training_is_measured_and_drawn(data, tmp_path, monkeypatch):
    """All kinds of the table run on both data sets."""
    text = measured(tmp_path, monkeypatch, data, objectives.KINDS)
    assert all(f"| {data} | {name} |" in text for name in objectives.KINDS)
    assert "nan" not in text
