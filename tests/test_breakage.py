"""Numbers that break: where, in which tensor, on which rows; and what keeps them from it."""

import math
import re
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import run_fit, tiny_vae

import vae_jax
from experiments import swiss_roll
from vae_jax import loop
from vae_jax.networks.bounded import bounded
from vae_jax.replay import batch_rows, find_broken


def message_of(tiny, **options):
    with pytest.raises(FloatingPointError) as error:
        run_fit(tiny, 30, **options)
    return error.value


def test_a_broken_batch_is_named_with_its_rows(tiny):
    """NaN in the data of row 5, put there behind the checks: step, tensor and row."""
    rng_rows = jax.random.split(jax.random.split(jax.random.key(3))[1])[0]
    rows = jax.jit(lambda step: vae_jax.array_batches(8)(jnp.arange(37), rng_rows, step))
    first = next(step for step in range(30) if 5 in np.asarray(rows(step)))

    data = jnp.asarray(tiny.data).at[5].set(jnp.nan)
    rng_init, rng_run = jax.random.split(jax.random.key(3))
    state = vae_jax.init_train_state(rng_init, tiny.vae.init, tiny.loss_fn, tiny.optimizer)
    found = find_broken(state, rng_run, data, 1.0, batch_fn=tiny.batch_fn, num_steps=10)
    assert found == (first, "the batch")
    said = batch_rows(tiny.batch_fn, data, rng_run, first)
    assert said == " Rows that are not finite in its batch: 5."
    fine = batch_rows(tiny.batch_fn, tiny.data, rng_run, first)
    assert fine.startswith(" The rows of its batch: ")
    assert sorted(map(int, fine[24:-1].split(", "))) == sorted(np.asarray(rows(first)).tolist())


@pytest.fixture(scope="module")
def overflowing(tiny):
    """tiny, whose decoder's last bias gets a gradient of NaN: that of sqrt at 0."""

    def loss_fn(params, rng, x, beta):
        loss, metrics = tiny.loss_fn(params, rng, x, beta)
        bias = params["decoder"]["layers"]["out"]["bias"][0]
        hit = jnp.sqrt((bias - jax.lax.stop_gradient(bias)) ** 2)
        return loss + hit, metrics | {"loss": loss + hit}

    return tiny._replace(loss_fn=loss_fn)


def test_a_gradient_that_breaks_under_a_finite_loss_is_named(overflowing):
    """sqrt has the derivative inf at 0: the loss of step 1 is finite, a gradient of it is not."""
    error = message_of(overflowing, debug=True)
    assert "step 1 broke first, at the gradient of decoder/layers/out/bias" in str(error)
    assert "jax's check: " in str(error)
    assert isinstance(error.__cause__, FloatingPointError)
    for advice in ("Scale the data", "learning rate", "clip", "BoundedEncoder"):
        assert advice in str(error)


def test_parameters_that_break_at_a_chunks_end_are_seen(overflowing):
    """In chunks of one step the terms of step 1 are finite; what follows from them is not."""
    error = message_of(overflowing, chunk_steps=1)
    assert "The parameter decoder/layers/out/bias stopped being finite by step 1" in str(error)


def test_what_noise_breaks_is_found_at_the_same_step(tiny):
    """The second look draws what the run drew: the same step, by the key of that step."""

    def loss_fn(params, rng, x, beta):
        loss, metrics = tiny.loss_fn(params, rng, x, beta)
        loss += jnp.where(jax.random.uniform(rng) < 0.15, jnp.nan, 0.0)
        return loss, metrics | {"loss": loss}

    text = str(message_of(tiny._replace(loss_fn=loss_fn)))
    step = re.search(r"stopped being finite at step (\d+)", text)[1]
    assert f"Run again, step {step} broke first, at the loss" in text


def test_without_debug_there_is_no_second_look(overflowing, monkeypatch):
    """jax's checks run operation by operation: only when asked for."""
    monkeypatch.setattr(loop, "with_nan_checks", None)
    assert message_of(overflowing).__cause__ is None


def test_equal_bits_are_said_and_others_refused(tiny, capsys, monkeypatch):
    """check_determinism runs the first chunk twice; an end that differs names its first leaf."""
    run_fit(tiny, 30, check_determinism=True)
    assert capsys.readouterr().out.count("10 steps, run twice, gave the same bits") == 1
    run, calls = loop._run, []

    def flaky(*arguments):
        state, metrics, sound, taken = run(*arguments)
        calls.append(1)
        return state, {**metrics, "loss": metrics["loss"] + (len(calls) == 2)}, sound, taken

    monkeypatch.setattr(loop, "_run", flaky)
    with pytest.raises(FloatingPointError, match="different bits, first in 1/loss"):
        run_fit(tiny, 30, check_determinism=True)


def test_log_is_called_with_the_means_of_each_chunk(tiny):
    """log(step, metrics): floats, at every chunk's end."""
    seen = {}
    run = run_fit(tiny, 25, log=lambda step, metrics: seen.update({step: metrics}))
    assert list(seen) == [10, 20, 25]
    assert seen[25]["kl"] == pytest.approx(run.metrics["kl"][20:].mean())
    assert list(seen[10]) == ["loss", "recon", "kl", "bound"]


def test_tensorboard_gets_every_metric(tmp_path):
    """A file of events in the folder, made at the first call."""
    pytest.importorskip("tensorboardX")
    log = vae_jax.tensorboard_log(tmp_path / "board")
    assert not (tmp_path / "board").exists()
    log(10, {"loss": 1.5})
    time.sleep(1.1)
    log(20, {"loss": 1.0})
    [events] = (tmp_path / "board").iterdir()
    for _ in range(50):  # a thread of tensorboardX writes it
        if b"loss" in events.read_bytes():
            break
        time.sleep(0.1)
    assert b"loss" in events.read_bytes()


def test_bounded_is_the_identity_inside_and_monotone_everywhere():
    """|bounded(v) - v| <= 2 exp(-distance to the bounds); in [low, high]; its slope is not 0."""
    v = jnp.linspace(-60.0, 60.0, 2001)
    low, high = -10.0, 8.0
    y = bounded(v, low, high)
    assert float(y.min()) >= low
    assert float(y.max()) <= high + math.exp(low - high) + 1e-6
    inside = (v > low) & (v < high)
    distance = jnp.minimum(v - low, high - v)
    assert np.all(np.abs(y - v)[inside] <= 2 * np.exp(-distance[inside]) + 1e-5)
    slope = jax.vmap(jax.grad(lambda v: bounded(v, low, high)))(v)
    assert np.all(np.asarray(slope) >= 0)
    assert float(slope[np.searchsorted(v, high + 5)]) > 0.005


def test_a_bounded_encoder_bounds_and_is_saved_as_text():
    """logvar stays within 10; to_text and from_text are inverse; wrong bounds are refused."""
    encoder = vae_jax.BoundedEncoder(vae_jax.MLPEncoder(2, (4,), jnp.tanh))
    vae = tiny_vae(encoder=encoder)
    params = vae.init(jax.random.key(0))
    x = jnp.ones(3)
    inner = tiny_vae().encode({"encoder": params["encoder"]["encoder"]}, x)
    mean, logvar = vae.encode(params, x)
    chex.assert_trees_all_close((mean, logvar), inner, atol=1e-3)
    huge = jax.tree.map(lambda leaf: 1e4 * leaf, params)
    assert float(jnp.abs(vae.encode(huge, x)[1]).max()) <= 10.01
    text = vae_jax.to_text(encoder)
    assert text.startswith("BoundedEncoder(encoder=MLPEncoder(latent_dim=2, ")
    assert vae_jax.to_text(vae_jax.from_text(text)) == text
    with pytest.raises(ValueError, match="low must be below high"):
        tiny_vae(encoder=vae_jax.BoundedEncoder(encoder, 1.0, 1.0)).init(jax.random.key(0))


def test_clip_bounds_the_step_of_plain_gradient_descent():
    """With sgd of rate 1 and clip c, the parameters move by c at most."""
    settings = swiss_roll.Settings(optimizer="sgd", learning_rate=1.0, clip=0.5)
    optimizer = swiss_roll.optimiser(settings)
    params = {"a": jnp.zeros(4)}
    updates, _ = optimizer.update({"a": jnp.full(4, 100.0)}, optimizer.init(params), params)
    assert float(jnp.linalg.norm(updates["a"])) == pytest.approx(0.5)
    small, _ = optimizer.update({"a": jnp.full(4, 0.1)}, optimizer.init(params), params)
    np.testing.assert_allclose(small["a"], -0.1, rtol=1e-6)
