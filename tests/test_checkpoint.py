"""A pytree to disk and back: atomic, exact, nothing that can execute."""

import os

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import contents

from vae_jax.checkpoint import load_tree, read_json, save_tree, write_atomic, write_json


def tree():
    params = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(0)}}
    return {
        "params": params,
        "opt_state": optax.adam(0.1).init(params),
        "step": jnp.int32(7),
        "flag": jnp.array([True, False]),
        "half": jnp.array([1.5, -2.0], jnp.bfloat16),
    }


def test_every_leaf_comes_back_with_its_bits_and_type(tmp_path):
    """load_tree(save_tree(t)) = t, also into shapes only, also transposed views."""
    saved = {**tree(), "view": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}
    save_tree(tmp_path / "t", saved)
    for template in (saved, jax.eval_shape(lambda: saved)):
        loaded = load_tree(tmp_path / "t", template)
        chex.assert_trees_all_equal(loaded, saved)
        chex.assert_trees_all_equal_dtypes(loaded, saved)
        assert jax.tree.structure(loaded) == jax.tree.structure(saved)


def test_keys_come_back_as_keys(tmp_path):
    """A typed PRNG key is saved as its data and gives the same draws."""
    save_tree(tmp_path / "t", {"rng": jax.random.key(9)})
    loaded = load_tree(tmp_path / "t", {"rng": jax.random.key(0)})
    wanted = jax.random.normal(jax.random.key(9), (3,))
    np.testing.assert_array_equal(jax.random.normal(loaded["rng"], (3,)), wanted)


def test_a_part_can_be_read_out_of_the_whole(tmp_path):
    """Arrays that the template does not name are left alone."""
    save_tree(tmp_path / "t", tree())
    loaded = load_tree(tmp_path / "t", {"params": tree()["params"]})
    chex.assert_trees_all_equal(loaded, {"params": tree()["params"]})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"step": jnp.float32(0)}, "step as int32"),
        ({"step": jnp.zeros(2, jnp.int32)}, r"needs int32\[2\]"),
        ({"other": jnp.int32(0)}, "does not hold other"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(tmp_path, template, message):
    """ValueError with the file, the array, what is there and what is needed."""
    save_tree(tmp_path / "t", tree())
    with pytest.raises(ValueError, match=message) as error:
        load_tree(tmp_path / "t", template)
    assert str(tmp_path / "t") in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    """FileNotFoundError with the path, for arrays and for JSON."""
    for load in (lambda path: load_tree(path, {}), read_json):
        with pytest.raises(FileNotFoundError, match="nothing"):
            load(tmp_path / "nothing")


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    """write_atomic replaces the file whole or not at all, and cleans up after itself."""
    path = tmp_path / "t"
    write_atomic(path, b"old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert contents(tmp_path) == {"t": b"old"}


def test_json_comes_back(tmp_path):
    """read_json(write_json(x)) = x."""
    content = {"a": [1, 2.5, None], "b": {"c": "é"}}
    write_json(tmp_path / "j", content)
    assert read_json(tmp_path / "j") == content
