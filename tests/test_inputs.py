"""Wrong data and wrong numbers are refused before anything is compiled."""

import numpy as np
import pytest
from helpers import run_fit, tiny_vae

import vae_jax

FLOATS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def with_value(value):
    data = FLOATS.copy()
    data[[4, 7], 1] = value
    return data


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (FLOATS[:, :2], ValueError, r"shape \(8, 2\), this VAE needs \[B, 3\]"),
        (FLOATS[:, :, None], ValueError, r"shape \(8, 3, 1\)"),
        (FLOATS.ravel(), ValueError, r"shape \(8,\)"),
        (FLOATS[:0], ValueError, "no rows"),
        (np.array(1.0, np.float32), ValueError, "no rows"),
        (FLOATS[:5], ValueError, "batch_size is 8, the data has only 5 rows"),
        (with_value(np.nan), ValueError, r"2 of 20 rows, first in rows \[4, 7\]"),
        (with_value(-np.inf), ValueError, r"2 of 20 rows, first in rows \[4, 7\]"),
        (np.arange(60).reshape(20, 3), TypeError, "astype"),
        (np.ones((20, 3), bool), TypeError, "real numbers"),
        (np.full((20, 3), "a"), TypeError, "real numbers"),
        (np.full((20, 3), None), TypeError, "real numbers"),
        (FLOATS.astype(complex), TypeError, "real numbers"),
    ],
)
def test_wrong_data_is_refused(tiny, tmp_path, data, error, message):
    """The error says what was got; no folder is made."""
    with pytest.raises(error, match=message):
        run_fit(tiny, 10, data=data, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_numbers_too_large_for_float32_are_refused(tiny):
    """1e300 is finite in float64 and infinite where it would be used."""
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="as float32"):
        run_fit(tiny, 10, data=with_value(1.0).astype(np.float64) * 1e300)


@pytest.mark.parametrize("data", [2 * np.abs(FLOATS), np.full((20, 3), 255), -np.ones((20, 3))])
def test_bits_must_lie_between_zero_and_one(tiny, data):
    """bernoulli() refuses values outside [0, 1] and says how to scale them."""
    vae = tiny_vae(vae_jax.bernoulli())
    with pytest.raises(ValueError, match=r"\[0, 1\].*scale"):
        run_fit(tiny, 10, vae=vae, loss_fn=vae_jax.make_elbo(vae), data=data)


def test_what_batch_fn_makes_is_looked_at_too(tiny):
    """Data of the user's own kind is judged by its first batch."""
    for batch, message in ((FLOATS[:, :2], "needs"), (with_value(np.nan), "first batch")):
        with pytest.raises(ValueError, match=message):
            run_fit(tiny, 10, data=None, batch_fn=lambda data, rng, step, b=batch: b)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_steps", -5),
        ("num_steps", 0),
        ("num_steps", 10.0),
        ("chunk_steps", 0),
        ("chunk_steps", True),
        ("beta", float("nan")),
        ("beta", "1"),
        ("beta", -0.5),
    ],
)
def test_wrong_numbers_are_refused(tiny, tmp_path, option, value):
    """The error names the argument; no folder is made."""
    options = {"num_steps": 10, "run_dir": tmp_path / "run", option: value}
    with pytest.raises((ValueError, TypeError), match=option):
        run_fit(tiny, **options)
    assert not (tmp_path / "run").exists()


def test_a_list_of_rows_is_an_array(tiny):
    """fit(data=[[...], ...]) trains as on the array of the same numbers."""
    rows = np.asarray(tiny.data)
    listed, whole = run_fit(tiny, 3, data=rows.tolist()), run_fit(tiny, 3, data=rows)
    np.testing.assert_array_equal(listed.metrics["loss"], whole.metrics["loss"])


@pytest.mark.parametrize("rng", [0, np.uint32([0, 1]), None])
def test_what_is_no_key_is_refused(tiny, rng):
    """TypeError that names jax.random.key."""
    with pytest.raises(TypeError, match=r"jax\.random\.key"):
        vae_jax.fit(
            tiny.vae, tiny.loss_fn, tiny.optimizer, tiny.data, rng, batch_fn=tiny.batch_fn,
            num_steps=3,
        )  # fmt: skip


def test_a_metric_that_is_no_number_is_refused(tiny):
    """ValueError naming it, before the first step."""

    def loss_fn(params, rng, x, beta):
        loss, metrics = tiny.loss_fn(params, rng, x, beta)
        return loss, {**metrics, "means": x.mean(axis=0)}

    with pytest.raises(ValueError, match="'means'"):
        run_fit(tiny, 3, loss_fn=loss_fn)
