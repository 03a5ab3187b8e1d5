"""Sweeps: a replica is the single run with its settings, whatever it shares the program with."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from helpers import tiny_vae

import vae_jax
from experiments import sweep as sweep_experiment
from experiments import sweep_figures
from experiments.sweep import parse_grid
from vae_jax import replicas, schedules
from vae_jax.blocks import freeze
from vae_jax.devices import make_mesh, shard_batches
from vae_jax.replicas import Problem
from vae_jax.results import replica
from vae_jax.sweep import sweep
from vae_jax.table import product
from vae_jax.train import TrainState

DATA = np.asarray(jax.random.normal(jax.random.key(7), (37, 3)))
BATCHES = vae_jax.array_batches(8)


def build(hidden: int = 4) -> Problem:
    """One problem per width, with the noise learned."""
    vae = tiny_vae(
        encoder=vae_jax.MLPEncoder(2, (hidden,), jax.numpy.tanh),
        decoder=vae_jax.MLPDecoder(3, (hidden,), jax.numpy.tanh),
    )
    return Problem(vae, vae_jax.make_elbo(vae), BATCHES)


def run(table, **options):
    """A short sweep of `build`."""
    options = {"num_steps": 20, "chunk_steps": 10, "progress": False} | options
    return sweep(build, table, DATA, **options)


def single(row, hidden=4, num_steps=20):
    """The same by `fit`."""
    problem = build(hidden)
    return vae_jax.fit(
        problem.vae, problem.loss_fn, optax.adam(row["learning_rate"]), DATA,
        jax.random.key(row["seed"]), batch_fn=BATCHES, num_steps=num_steps, beta=row["beta"],
        progress=False,
    )  # fmt: skip


def test_every_replica_is_its_single_run():
    """Replica r = fit with its seed, beta and rate, to 1e-4 after 20 steps, in every group."""
    table = product(hidden=[4, 5], seed=[0, 3], beta=[0.5, 2.0], learning_rate=[1e-2])
    result = run(table)
    assert result.metrics["loss"].shape == (8, 20)
    assert not result.frozen
    for index in (0, 3, 6):
        row = result.table[index]
        alone = single(row, row["hidden"])
        np.testing.assert_allclose(
            result.metrics["loss"][index], alone.metrics["loss"], rtol=1e-4, atol=1e-5
        )
        vae, params = replica(result, index)
        assert vae.encoder.hidden == (row["hidden"],)
        close = jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            params, alone.state.params,
        )  # fmt: skip
        assert close is not None


def test_blocks_change_nothing(capsys):
    """A sweep cut into blocks by a memory limit gives the metrics of the whole one, and says so."""
    table = product(seed=range(6), learning_rate=[1e-2])
    whole = run(table)
    blocks = run(table, memory=8_000)
    assert "blocks of" in capsys.readouterr().out
    np.testing.assert_allclose(blocks.metrics["loss"], whole.metrics["loss"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_replicas_that_do_not_fit_into_the_cache_take_turns(most, monkeypatch):
    """One by one, or two by two with one left over: the metrics of all side by side."""
    table = product(seed=range(5), learning_rate=[1e-2])
    whole = run(table, mesh=make_mesh(devices=jax.devices()[:1]))
    monkeypatch.setattr(replicas, "_side_by_side", lambda mesh, shapes: most)
    turns = run(table, mesh=make_mesh(devices=jax.devices()[:1]))
    np.testing.assert_allclose(turns.metrics["loss"], whole.metrics["loss"], rtol=1e-4, atol=1e-5)


def test_wide_networks_take_turns_on_a_cpu(monkeypatch):
    """The replicas side by side are those whose states fit into CACHE, one at least."""
    shapes = {"w": jax.ShapeDtypeStruct((1, 1000), np.float32)}
    for cache, wanted in ((100, 1), (9_000, 2)):
        monkeypatch.setattr(replicas, "CACHE", cache)
        assert replicas._side_by_side(make_mesh(), shapes) == wanted


def test_a_broken_replica_stops_alone():
    """The diverging replica is frozen at a finite state and reported; the other does not notice."""
    both = run(product(seed=[0], learning_rate=[1e-2, 1e30]))
    alone = run(product(seed=[0], learning_rate=[1e-2]))
    assert set(both.frozen) == {1}
    step = both.frozen[1]
    losses = both.metrics["loss"]
    assert np.isnan(losses[1, step - 1 :]).all()
    assert np.isfinite(losses[1, : step - 1]).all()
    np.testing.assert_allclose(losses[0], alone.metrics["loss"][0], rtol=1e-4, atol=1e-5)
    _, params = replica(both, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_the_noise_is_held_where_the_row_sets_it():
    """With `std` the likelihood's shared parameter stays at 2 log std; without, it is learned."""
    fixed = run(product(seed=[0], std=[0.2, 0.5], learning_rate=[1e-2]))
    for index, std in enumerate((0.2, 0.5)):
        _, params = replica(fixed, index)
        np.testing.assert_allclose(params["likelihood"], 2 * np.log(std), rtol=1e-6)
    _, learned = replica(run(product(seed=[0], learning_rate=[1e-2])), 0)
    assert abs(learned["likelihood"][0] - 2 * np.log(0.1)) > 0.05


@pytest.mark.parametrize("schedule", schedules.SCHEDULES.values(), ids=schedules.SCHEDULES)
def test_schedules_rise_from_zero_to_one(schedule):
    """Multipliers lie in [0, 1] and end at 1; all but the constant one begin near 0."""
    fractions = np.linspace(0.001, 1.0, 1000, dtype=np.float32)
    values = np.asarray(schedule(fractions))
    assert values.min() >= 0
    assert values.max() <= 1 + 1e-6
    np.testing.assert_allclose(values[-1], 1.0, atol=1e-3)
    if schedule is not schedules.constant:
        assert values[0] < 0.01
    schedules.check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "numbers"),
    [
        (schedules.linear_warmup, {"warmup": 1.5}),
        (schedules.cyclical, {"cycles": 3.5, "ramp": 0.9}),
        (schedules.sigmoid, {"centre": 0.9, "width": 0.2}),
    ],
)
def test_schedules_that_miss_their_target_are_refused(schedule, numbers):
    """A warm-up longer than the training is an error when the sweep is built."""
    with pytest.raises(ValueError, match="optimise another objective"):
        run([numbers], schedule=schedule)


def test_the_schedule_multiplies_each_replicas_beta():
    """At the last step loss = beta * kl - recon; at the first, with warm-up, beta is nearly 0."""
    result = run(
        product(beta=[0.5, 2.0], warmup=[0.25, 0.5]), num_steps=20, schedule=schedules.linear_warmup
    )
    for index, row in enumerate(result.table):
        loss, recon, kl = (result.metrics[name][index] for name in ("loss", "recon", "kl"))
        betas = row["beta"] * np.minimum(1.0, (np.arange(20) + 1) / 20 / row["warmup"])
        np.testing.assert_allclose(loss, betas * kl - recon, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "empty"),
        ([{"bata": 1.0}], "did you mean beta"),
        ([{"warmup": 0.5}], "no setting 'warmup'"),
        ([{"hidden": 0}], "hidden"),
        ([{"seed": 0.5}], "seed"),
        ([{"seed": 2**32}], "seed"),
        ([{"beta": -1.0}], "beta"),
        ([{"beta": float("nan")}], "beta"),
        ([{"learning_rate": -1.0}], "learning_rate"),
        ([{"std": 0.0}], "std"),
        ([{"hidden": np.arange(3)}], "unhashable"),
    ],
)
def test_wrong_tables_are_refused(table, message):
    """ValueError or TypeError with the setting, or the nearest valid name."""
    with pytest.raises((TypeError, ValueError), match=message):
        run(table)


def test_an_axis_without_values_is_refused():
    """product(beta=[]) would be no sweep at all."""
    with pytest.raises(ValueError, match="beta"):
        product(seed=[1], beta=[])


def test_one_replica_too_large_is_refused():
    """ValueError with what it needs and what there is."""
    with pytest.raises(ValueError, match="One replica on each device needs"):
        run([{}], memory=100)


def test_a_mesh_that_does_not_divide_is_refused():
    """The number of data shards divides the devices, the batch divides by the shards."""
    with pytest.raises(ValueError, match="does not divide"):
        make_mesh(data=len(jax.devices()) + 1)


def test_a_spread_batch_is_the_same_batch():
    """shard_batches moves rows to devices and changes none of them."""
    mesh = make_mesh(data=len(jax.devices()))
    spread = shard_batches(BATCHES, mesh)
    rng, step = jax.random.key(0), jax.numpy.int32(3)
    np.testing.assert_array_equal(jax.jit(spread)(DATA, rng, step), BATCHES(DATA, rng, step))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("beta=1e-3,2 seed=0..2", 6),
        ("seed=4", 1),
        ("beta=.5 seed=-1..1,7 hidden_dim=8,16", 8),
    ],
)
def test_grids_read_as_written(text, rows):
    """name=value,value and name=first..last, every combination of them."""
    assert len(parse_grid(text)) == rows
    assert parse_grid("beta=0.5 seed=3..4") == [{"beta": 0.5, "seed": 3}, {"beta": 0.5, "seed": 4}]


@pytest.mark.parametrize(
    "text", ["beta", "beta=", "=1", "beta=a", "seed=3..1", "beta=1 beta=2", ""]
)
def test_grids_that_cannot_be_read_are_refused(text):
    """ValueError, before anything is trained."""
    with pytest.raises(ValueError, match="grid"):
        parse_grid(text)


def test_the_sweep_experiment_leaves_figures_and_a_run(tmp_path):
    """Three figures, the table, the metrics [R, T], and the best replica as a run."""
    grid = "beta=1e-3,1e-2 seed=0..1"
    sweep_experiment.main(
        sweep_experiment.Settings(grid=grid, steps=20, hidden_dim=4, out=tmp_path / "sweep")
    )
    for name in ("rate_distortion", "latent_grids", "collapse"):
        assert (tmp_path / "sweep" / f"{name}.png").is_file()
    with np.load(tmp_path / "sweep" / "metrics.npz") as file:
        assert file["loss"].shape == (4, 20)
        np.testing.assert_allclose(file["beta"], [1e-3, 1e-3, 1e-2, 1e-2])
    with pytest.raises(ValueError, match="best"):
        vae_jax.load_run(tmp_path / "sweep")
    best = vae_jax.load_run(tmp_path / "sweep" / "best")
    assert best.vae.encoder.hidden == (4, 4, 4)
    assert best.config["objective"] == "make_teaching"


def test_parameters_that_break_in_the_last_step_freeze_the_replica():
    """A step's metrics are of the parameters before its update, so those after it are looked at."""
    before = TrainState({"w": jax.numpy.ones((3, 2))}, (), jax.numpy.zeros(3), len, optax.sgd(1.0))
    after = dataclasses.replace(
        before, params={"w": jax.numpy.array([[2.0, 2.0], [2.0, np.nan], [2.0, 2.0]])}
    )
    metrics, broken = {"loss": np.ones((3, 4))}, {}
    sound = np.array([True, False, True])
    chosen = freeze(before, after, metrics, sound, broken, 10)
    assert broken == {1: 14}
    np.testing.assert_array_equal(chosen.params["w"], [[2, 2], [1, 1], [2, 2]])
    np.testing.assert_array_equal(np.isnan(metrics["loss"]).sum(axis=1), [0, 1, 0])


def test_std_is_that_of_every_dimension():
    """A noise for each dimension is set to `std` in all of them."""

    def per_dim():
        vae = tiny_vae(vae_jax.normal(learned="per_dim"))
        return Problem(vae, vae_jax.make_elbo(vae), BATCHES)

    result = sweep(per_dim, [{"std": 0.2}], DATA, num_steps=2, progress=False)
    held = replica(result, 0)[1]["likelihood"]
    np.testing.assert_allclose(held, np.full(3, 2 * np.log(0.2)), rtol=1e-6)


@pytest.mark.parametrize("options", [{"std": 0.3}, {"learned": "decoder"}])
def test_std_needs_a_learned_noise(options):
    """A likelihood without that parameter is refused by name."""

    def fixed():
        vae = tiny_vae(vae_jax.normal(**options))
        return Problem(vae, vae_jax.make_elbo(vae), BATCHES)

    with pytest.raises(ValueError, match=r"normal\(\)"):
        sweep(fixed, [{"std": 0.1}], DATA, num_steps=2, progress=False)


def test_a_number_of_the_schedule_is_no_setting_of_build():
    """One name cannot mean both the sigmoid's width and the network's."""

    def wide(width=4):
        return build(width)

    with pytest.raises(ValueError, match="width"):
        sweep(wide, [{}], DATA, num_steps=2, schedule=schedules.sigmoid, progress=False)


@pytest.mark.parametrize("numbers", [{"cycles": -1.0}, {"ramp": 0.0}])
def test_schedule_numbers_are_above_zero(numbers):
    """A cycle that runs backwards, or rises in no time, is refused."""
    with pytest.raises(ValueError, match="above 0"):
        run([numbers], schedule=schedules.cyclical)


def test_a_wrong_grid_leaves_the_older_sweep_where_it_is(tmp_path):
    """Nothing is moved aside before the new sweep is known to be valid."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for options in ({"grid": "bta=1"}, {"steps": 0}, {"hidden_dim": 0}):
        with pytest.raises(ValueError, match=r"beta|steps|hidden_dim"):
            sweep_experiment.main(sweep_experiment.Settings(out=folder, **options))
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


def test_the_table_keeps_settings_apart():
    """Rows that differ in more than the seed are never pooled."""
    rows = [
        {"beta": beta, "seed": seed, "learning_rate": rate}
        for beta in (0.1, 1.0) for rate in (1e-3, 1e-2) for seed in (0, 1)
    ]  # fmt: skip
    groups = sweep_figures.by_setting(rows, [{"loss": 1.0}] * 8)
    assert [len(group) for group in groups.values()] == [2, 2, 2, 2]
