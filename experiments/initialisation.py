"""Which initialisation of the MLPs learns the Swiss roll best: final losses over many seeds."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vae_jax as vj
from experiments.command import run
from vae_jax.checkpoint import write_atomic
from vae_jax.checks import check_count
from vae_jax.networks import SPREAD


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    widths: tuple[int, ...] = (32, 256)
    """Widths of the three hidden layers, in units."""
    seeds: int = 20
    """Replicas of each, trained as one program."""
    steps: int = 1000
    """Training steps."""
    out: Path = Path("results/initialisation")
    """Folder for the table."""


def as_built(rng: Any, leaf: Any, fan_in: int) -> Any:
    """The package's: kernels and biases uniform in +-1.2/sqrt(fan_in)."""
    return leaf


def torch_default(rng: Any, leaf: Any, fan_in: int) -> Any:
    """PyTorch's: the same with +-1/sqrt(fan_in)."""
    return leaf / SPREAD


def zero_biases(rng: Any, leaf: Any, fan_in: int) -> Any:
    """The package's kernels with biases of 0."""
    return jnp.zeros_like(leaf) if leaf.ndim == 1 else leaf


def flax_default(rng: Any, leaf: Any, fan_in: int) -> Any:
    """Flax's: kernels truncated normal of variance 1/fan_in, biases 0."""
    return jax.nn.initializers.lecun_normal()(rng, leaf.shape) if leaf.ndim == 2 else 0.0 * leaf


def he_uniform(rng: Any, leaf: Any, fan_in: int) -> Any:
    """Kernels of variance 2/fan_in (He et al.), biases as the package's."""
    return jax.nn.initializers.he_uniform()(rng, leaf.shape) if leaf.ndim == 2 else leaf


def wide_biases(rng: Any, leaf: Any, fan_in: int) -> Any:
    """The package's kernels, biases twice as wide."""
    return 2.0 * leaf if leaf.ndim == 1 else leaf


def reinitialised(vae: vj.VAE, change: Callable[..., Any]) -> vj.VAE:
    """`vae` with `change` applied to every initial kernel and bias."""

    def init(rng: Any) -> Any:
        rng_params, rng_change = jax.random.split(rng)
        leaves, tree = jax.tree.flatten(vae.init(rng_params))
        rngs = jax.random.split(rng_change, len(leaves))
        # Sorted names put each bias before its kernel, whose rows are the layer's inputs.
        fan_ins = [leaves[i + (leaf.ndim == 1)].shape[0] for i, leaf in enumerate(leaves)]
        changed = [change(*each) for each in zip(rngs, leaves, fan_ins, strict=True)]
        return jax.tree.unflatten(tree, changed)

    return vae._replace(init=init)


def final_losses(width: int, change: Callable[..., Any], settings: Settings) -> Any:
    """Mean loss of the last 100 steps for every seed, [R], in the teaching form."""
    plain = vj.build_vae(
        vj.MLPEncoder(2, (width,) * 3),
        vj.MLPDecoder(2, (width,) * 3),
        likelihood=vj.squared_error(),
        prior=vj.standard_normal(2),
        data_shape=(2,),
    )
    vae = reinitialised(plain, change)
    loss_fn, optimizer = vj.make_teaching(vae), optax.adam(1e-3)
    rng_init, rng_run = jax.random.split(jax.random.key(0))
    states = jax.vmap(lambda rng: vj.init_train_state(rng, vae.init, loss_fn, optimizer))(
        jax.random.split(rng_init, settings.seeds)
    )
    _, metrics = vj.replicate(vj.train_scan)(
        states,
        jax.random.split(rng_run, settings.seeds),
        None,
        jnp.full(settings.seeds, 0.01),
        batch_fn=vj.swiss_roll_batches(128),
        num_steps=settings.steps,
    )
    return np.asarray(metrics["loss"][:, -100:].mean(axis=1))


def main(settings: Settings) -> None:
    check_count("seeds", settings.seeds)
    check_count("steps", settings.steps)
    rows = ["| initialisation | width | median | mean ± standard error | worst |"]
    rows += ["|:--|--:|--:|--:|--:|"]
    print("\n".join(rows))
    for change in (as_built, torch_default, zero_biases, flax_default, he_uniform, wide_biases):
        for width in settings.widths:
            losses = final_losses(width, change, settings)
            error = losses.std(ddof=min(1, len(losses) - 1)) / len(losses) ** 0.5
            rows.append(
                f"| {change.__doc__} | {width} | {np.median(losses):.5f} | "
                f"{losses.mean():.5f} ± {error:.5f} | {losses.max():.5f} |"
            )
            print(rows[-1], flush=True)
    rows += ["", f"Loss in the last 100 of {settings.steps} steps, {settings.seeds} seeds.", ""]
    settings.out.mkdir(parents=True, exist_ok=True)
    write_atomic(settings.out / "table.md", "\n".join(rows).encode())


if __name__ == "__main__":
    run(main, Settings)
