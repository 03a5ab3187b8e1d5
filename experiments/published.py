"""Published test likelihoods with their protocols: the rows of `likelihood_table`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vae_jax as vj
from vae_jax import Problem
from vae_jax.data.image_batches import image_batches
from vae_jax.data.images import Images


class Entry(NamedTuple):
    """One row: the published number and how it was got."""

    title: str
    published: str
    dataset: str
    epochs: int
    batch_size: int
    learning_rate: float
    num_samples: int
    build: Callable[[Any, int], Problem]
    """training images, steps -> what is trained"""

    def train_and_test(self, images: Images) -> tuple[Any, Any]:
        """Training rows as uint8 [N, 784], and test rows as 0 and 1, float32 [N, 784]."""
        train, test = (part.reshape(len(part), -1) for part in (images.train, images.test))
        if self.dataset == "static_binarized_mnist":
            return train[:50_000], test.astype(np.float32)
        bits = np.random.default_rng(0).random(test.shape) < test / 255
        return train, bits.astype(np.float32)


def static_vae(
    train: Any,
    steps: int,
    *,
    prior: Callable[[int], vj.Prior] = vj.standard_normal,
    make: Callable[[vj.VAE], Any] = vj.make_elbo,
    hidden: tuple[int, ...] = (400,),
    batch_size: int = 100,
    cosine: bool = False,
) -> Problem:
    """784-400-40 on static bits, Adam at a constant rate, as pythae's reproductions have it."""
    vae = vj.build_vae(
        vj.MLPEncoder(40, hidden), vj.MLPDecoder(784, hidden[::-1]), likelihood=vj.bernoulli(),
        prior=prior(40), data_shape=(784,),
    )  # fmt: skip
    if vae.prior.text.startswith("vamp_prior"):
        vae = vj.start_at_rows(vae, jax.random.key(0), train.astype(np.float32))
    if not cosine:
        return Problem(vae, make(vae), image_batches(batch_size, "bits"))
    decay = optax.cosine_decay_schedule(1.0, steps, alpha=0.01)
    return Problem(vae, make(vae), image_batches(batch_size, "bits"), partial(_adam, decay, 1e-8))


def one_layer(train: Any, steps: int, *, make: Callable[[vj.VAE], Any]) -> Problem:
    """784-200-200-50, tanh, bits drawn anew at every use: the IWAE paper's protocol.

    Glorot-uniform weights, zero biases but for the output's, which start at the logit of the mean
    image; Adam with eps 1e-4 at 1e-4 * round(10^(1 - i/7), 1) for 3^i of 3,280 passes, i = 0 ... 7.
    """
    vae = vj.build_vae(
        vj.MLPEncoder(50, (200, 200), jnp.tanh), vj.MLPDecoder(784, (200, 200), jnp.tanh),
        likelihood=vj.bernoulli(), prior=vj.standard_normal(50), data_shape=(784,),
    )  # fmt: skip
    vae = vae._replace(init=partial(_glorot, vae.init, _logit_of_mean(train)))
    adam = partial(_adam, eight_rates(steps), 1e-4)
    return Problem(vae, make(vae), image_batches(20, "binarized"), adam)


def eight_rates(steps: int) -> Any:
    """step -> the share of the first rate, over eight phases of 3^i / 3280 of the steps."""
    ends = np.cumsum([3**i for i in range(7)]) / 3280 * steps
    rates = [round(10 ** (1 - i / 7), 1) for i in range(8)]
    drops = {round(end): rates[i + 1] / rates[i] for i, end in enumerate(ends)}
    return optax.piecewise_constant_schedule(1.0, drops)


def _adam(decay: Any, eps: float, learning_rate: Any) -> optax.GradientTransformation:
    return optax.chain(optax.adam(learning_rate, eps=eps), optax.scale_by_schedule(decay))


def _logit_of_mean(train: Any) -> Any:
    mean = np.clip(train.mean(axis=0) / 255, 0.001, 0.999)
    return np.log(mean / (1 - mean)).astype(np.float32)


def _glorot(init: Any, output_bias: Any, rng: Any) -> Any:
    params = init(rng)
    leaves, tree = jax.tree.flatten(params)
    rngs = jax.random.split(rng, len(leaves))
    draw = jax.nn.initializers.glorot_uniform()
    leaves = [
        draw(key, leaf.shape) if leaf.ndim == 2 else jnp.zeros_like(leaf)
        for key, leaf in zip(rngs, leaves, strict=True)
    ]
    params = jax.tree.unflatten(tree, leaves)
    params["decoder"]["layers"]["out"]["bias"] = jnp.asarray(output_bias)
    return params


_static = partial(Entry, dataset="static_binarized_mnist", epochs=500, batch_size=100)
_iwae = partial(Entry, dataset="mnist", epochs=3280, batch_size=20, learning_rate=1e-3,
                num_samples=5000)  # fmt: skip

_two_layers = partial(
    _static, epochs=150, batch_size=200, learning_rate=1e-3, num_samples=5000,
)  # fmt: skip
_fast = partial(static_vae, hidden=(300, 300), batch_size=200, cosine=True)

ENTRIES: dict[str, Entry] = {
    "vae": _static(
        "VAE 784-400-40, Adam 1e-4, static MNIST", "89.78 ± .01 (pythae), 89.9",
        learning_rate=1e-4, num_samples=200, build=static_vae,
    ),
    "vae-cosine": _static(
        "the same, Adam 1e-3 falling as a cosine", "–", learning_rate=1e-3, num_samples=200,
        build=partial(static_vae, cosine=True),
    ),
    "iwae-50": _static(
        "the same, Adam 1e-4, IWAE-50", "86.82 (pythae), 87.1", learning_rate=1e-4,
        num_samples=200, build=partial(static_vae, make=partial(vj.make_iwae, num_samples=50)),
    ),
    "two-layer": _two_layers("VAE 784-300-300-40, batch 200, Adam 1e-3, cosine", "–", build=_fast),
    "vamp": _two_layers(
        "the same, VampPrior, K = 300 rows to start at", "85.79 (pythae), 85.57 (gated, K = 500)",
        build=partial(_fast, prior=partial(vj.vamp_prior, num_components=300)),
    ),
    **{
        f"vae-k{k}": _iwae(
            f"VAE 784-200-200-50, k = {k}, dynamic MNIST", value,
            build=partial(one_layer, make=partial(vj.make_miwae, num_groups=k, num_samples=1)),
        )
        for k, value in ((1, "86.76"), (5, "86.47"), (50, "86.35"))
    },
    **{
        f"iwae-k{k}": _iwae(
            f"the same network, IWAE, k = {k}", value,
            build=partial(one_layer, make=partial(vj.make_iwae, num_samples=k)),
        )
        for k, value in ((5, "85.54"), (50, "84.78"))
    },
    **{
        f"dreg-k{k}": _iwae(
            f"the same network, IWAE with DReG, k = {k}", value,
            build=partial(one_layer, make=partial(vj.make_iwae, num_samples=k, gradient="dreg")),
        )
        for k, value in ((5, "84.90 (TF2 reproduction)"), (50, "84.32 (TF2 reproduction)"))
    },
}  # fmt: skip
