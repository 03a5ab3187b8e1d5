"""Sweeps that do not reach their end: nothing is lost, and going on changes nothing."""

import contextlib
import importlib
import signal

import jax
import numpy as np
import pytest
from helpers import contents, run_fit, tiny_vae

import vae_jax
from vae_jax import schedules
from vae_jax.diagnosis import POINTS
from vae_jax.ledger import ledger_path

pytestmark = pytest.mark.usefixtures("compiled_once")
SWEEP = importlib.import_module("vae_jax.sweep")
DATA = np.asarray(jax.random.normal(jax.random.key(7), (37, 3)))
BATCHES = vae_jax.array_batches(8)
TABLE = vae_jax.product(hidden=[(), (2,)], seed=[0, 1, 2], learning_rate=[1e-2])
TABLE[1]["learning_rate"] = 1e30
MEMORY = 7_200
"""In bytes: room for two of the affine replicas, and one of the others."""


def build(hidden=()):
    vae = tiny_vae(
        encoder=vae_jax.MLPEncoder(2, hidden, jax.numpy.tanh),
        decoder=vae_jax.MLPDecoder(3, hidden, jax.numpy.tanh),
    )
    return vae_jax.Problem(vae, vae_jax.make_elbo(vae), BATCHES)


def run(table=TABLE, **options):
    options = {"num_steps": 30, "chunk_steps": 10, "progress": False} | options
    return vae_jax.sweep(build, table, DATA, **options)


@pytest.fixture(scope="module")
def whole(compiled_once):
    """The sweep in blocks that nothing stopped."""
    return run(memory=MEMORY)


def assert_same(one, other, **tolerance):
    """Two sweeps ended alike, to the bit unless a tolerance is given."""
    assert one.table == other.table
    assert one.frozen == other.frozen
    assert [group.indices for group in one.groups] == [group.indices for group in other.groups]
    found = [(s.metrics, s.rates, s.active, [g.params for g in s.groups]) for s in (one, other)]
    check = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    jax.tree.map(lambda a, b: check(a, b, **tolerance), *found)


def press_at(monkeypatch, chunk, times):
    """Ctrl-C, `times` times, after the chunk of this number."""
    chunks = []

    @contextlib.contextmanager
    def show(total, done, name=""):
        def report(step, metrics):
            chunks.append(step)
            for _ in range(times if len(chunks) == chunk else 0):
                signal.raise_signal(signal.SIGINT)

        yield report

    monkeypatch.setattr(SWEEP, "show_nothing", show)


@pytest.mark.parametrize("chunk", [3, 8])
def test_ctrl_c_saves_and_the_rest_is_the_same_bits(whole, tmp_path, monkeypatch, chunk):
    """At the end of a block that others follow, and within the second group."""
    press_at(monkeypatch, chunk, 1)
    with pytest.raises(vae_jax.Interrupted, match=str(tmp_path)):
        run(memory=MEMORY, run_dir=tmp_path / "run")
    with pytest.raises((ValueError, FileNotFoundError), match=r"not finished|no file"):
        vae_jax.load_sweep(build, tmp_path / "run")
    monkeypatch.undo()
    assert_same(run(memory=MEMORY, run_dir=tmp_path / "run", resume=True), whole)
    before = contents(tmp_path / "run")
    assert_same(vae_jax.load_sweep(build, tmp_path / "run"), whole)
    assert set(whole.frozen) == {1}
    assert contents(tmp_path / "run") == before


def test_a_sweep_that_is_killed_goes_on_from_its_files(whole, tmp_path, monkeypatch):
    """Two Ctrl-C stop at once; with other blocks than before the end is the same to 1e-4."""
    monkeypatch.setattr(SWEEP, "SAVE_SECONDS", -1.0)
    press_at(monkeypatch, 3, 2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(memory=MEMORY, run_dir=tmp_path / "run")
    assert not isinstance(stopped.value, vae_jax.Interrupted)
    monkeypatch.undo()
    rest = run(memory=10**9, run_dir=tmp_path / "run", resume=True)
    assert_same(rest, whole, rtol=1e-4, atol=1e-5)


def test_a_sweep_that_was_never_saved_begins_again(tmp_path, monkeypatch):
    """Only config.json is there; resuming trains everything."""
    press_at(monkeypatch, 2, 2)
    with pytest.raises(KeyboardInterrupt):
        run(TABLE[:3], run_dir=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    monkeypatch.undo()
    assert_same(run(TABLE[:3], run_dir=tmp_path / "run", resume=True), run(TABLE[:3]))


def test_rates_and_active_units_are_those_of_the_parameters(whole):
    """The same by evaluate, batch by batch; a replica with a large beta has none active."""
    collapsed = run([{"beta": 1e3, "learning_rate": 0.1}], num_steps=100, chunk_steps=100)
    assert collapsed.active[0] == 0
    for result, index in ((whole, 0), (whole, 5), (collapsed, 0)):
        vae, params = vae_jax.replica(result, index)
        steps = np.arange(POINTS // 8)
        batches = jax.vmap(lambda step: BATCHES(DATA, jax.random.key(0), step))(steps)
        x = np.concatenate(batches)
        rates = vae_jax.kl_per_dim(vae, params, x)
        np.testing.assert_allclose(result.rates[index], rates, rtol=1e-3, atol=1e-5)
        mean, _ = vae_jax.posterior(vae, params, x)
        assert result.active[index] == (np.var(mean, axis=0) > 0.01).sum()
    assert whole.active[0] > 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished sweep of two replicas, not to be changed."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    run(TABLE[:2], run_dir=folder, settings={"a": 1})
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": [TABLE[0], TABLE[0]]}, r"table\.1\.seed was 1, is now 0"),
        ({"table": TABLE}, r"num_rows was 2, is now 6.*more"),
        ({"num_steps": 31}, "num_steps was 30, is now 31"),
        ({"schedule": schedules.linear_warmup}, "schedule was constant, is now linear_warmup"),
        ({"settings": {"a": 2}}, r"settings\.a was 1, is now 2"),
        ({"shard": (1, 2), "table": TABLE[:4]}, "shard"),
        ({"data": DATA + 1}, "data was"),
    ],
)
def test_another_sweep_is_refused_by_name_of_what_differs(finished, options, message):
    """ValueError that names the setting, before anything is trained or written."""
    before = contents(finished)
    options = {"table": TABLE[:2], "settings": {"a": 1}, "data": DATA, "num_steps": 30} | options
    with pytest.raises(ValueError, match=message):
        vae_jax.sweep(
            build, options.pop("table"), options.pop("data"), run_dir=finished, resume=True,
            progress=False, **options,
        )  # fmt: skip
    assert contents(finished) == before


def test_a_run_and_a_sweep_are_not_taken_for_each_other(finished, tiny, tmp_path):
    """Each is refused by what the other resumes, in words."""
    with pytest.raises(ValueError, match="holds a sweep"):
        run_fit(tiny, 10, run_dir=finished, resume=True)
    run_fit(tiny, 10, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="holds a single run"):
        run(run_dir=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="single run"):
        vae_jax.load_sweep(build, tmp_path / "run")
    with pytest.raises(ValueError, match="name the run_dir"):
        run(resume=True)
    with pytest.raises(FileNotFoundError, match="missing"):
        run(run_dir=tmp_path / "nothing", resume=True)
    with pytest.raises(TypeError, match=r"settings\['a'\]"):
        run(run_dir=tmp_path / "nothing", settings={"a": {1}})
    assert not (tmp_path / "nothing").exists()


def test_damage_is_named(finished, tmp_path):
    """A group's file with one bit flipped is refused by resume and by load_sweep."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    for name, content in contents(finished).items():
        (folder / name).write_bytes(content)
    path = ledger_path(folder, 0)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"group-000\.safetensors is damaged"):
        vae_jax.load_sweep(build, folder)
    with pytest.raises(ValueError, match=r"group-000\.safetensors is damaged"):
        run(TABLE[:2], run_dir=folder, settings={"a": 1}, resume=True)
