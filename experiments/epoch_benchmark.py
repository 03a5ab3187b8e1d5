"""One epoch of VAE 784-400-40 on binary images: vae_jax beside pythae and bare matrix products.

Contestants take turns; ratios are taken within a turn. pythae is optional (extra `bench`). The
images are random bits: the time does not depend on what they show.
"""

import contextlib
import dataclasses
import importlib.util
import io
import logging
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vae_jax as vj
from experiments.benchmark import Samples, machine, median, ratio, table
from experiments.command import run
from vae_jax.checks import check_count
from vae_jax.data.image_batches import image_batches
from vae_jax.marginal import DRAWS

ROWS, BATCH_SIZE, HIDDEN, LATENT, PIXELS = 50_000, 100, 400, 40, 784
PRODUCTS = [(PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS)]
"""The layers' sizes; each is three products a step, but the first has no gradient to its data."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    repeats: int = 5
    """Turns that every contestant gets."""
    samples: int = 5000
    """Importance samples per image in the evaluation's timing."""


def ours() -> Callable[[], float]:
    """Seconds of one epoch as one compiled scan."""
    bits = jnp.asarray(np.random.default_rng(0).integers(0, 2, (ROWS, PIXELS)), jnp.uint8)
    vae = build()
    state = vj.init_train_state(jax.random.key(0), vae.init, vj.make_elbo(vae), optax.adam(1e-4))
    options = {"batch_fn": image_batches(BATCH_SIZE, "bits"), "num_steps": ROWS // BATCH_SIZE}
    rng = jax.random.key(1)
    scan = vj.train_scan.lower(state, rng, bits, 1.0, **options).compile()

    def epoch() -> float:
        began = time.perf_counter()
        jax.block_until_ready(scan(state, rng, bits, 1.0))
        return time.perf_counter() - began

    return epoch


def build() -> vj.VAE:
    return vj.build_vae(
        vj.MLPEncoder(LATENT, (HIDDEN,)), vj.MLPDecoder(PIXELS, (HIDDEN,)),
        likelihood=vj.bernoulli(), prior=vj.standard_normal(LATENT), data_shape=(PIXELS,),
    )  # fmt: skip


def products() -> Callable[[], float]:
    """Seconds of an epoch's matrix products alone: forward, to the data, to the weights."""
    draw = np.random.default_rng(0).normal

    def array(*shape: int) -> Any:
        return jnp.asarray(draw(size=shape), jnp.float32)

    pairs = []
    for number, (fan_in, fan_out) in enumerate(PRODUCTS):
        x, w, g = array(BATCH_SIZE, fan_in), array(fan_in, fan_out), array(BATCH_SIZE, fan_out)
        pairs += [(x, w, (1, 0)), (x, g, (0, 0))] + ([(g, w, (1, 1))] if number else [])
    operands = [pair[:2] for pair in pairs]

    @jax.jit
    def loop(operands: Any) -> Any:
        def body(_: int, carry: Any) -> Any:
            operands, _ = jax.lax.optimization_barrier(carry)
            outs = [
                jax.lax.dot_general(a, b, (((axes[0],), (axes[1],)), ((), ())))
                for (a, b), (_, _, axes) in zip(operands, pairs, strict=True)
            ]
            return operands, outs

        first = body(0, (operands, jnp.zeros(())))
        return jax.lax.fori_loop(1, ROWS // BATCH_SIZE, body, first)[1]

    jax.block_until_ready(loop(operands))

    def epoch() -> float:
        began = time.perf_counter()
        jax.block_until_ready(loop(operands))
        return time.perf_counter() - began

    return epoch


def pythaes() -> Callable[[], float]:
    """Seconds of one epoch of pythae's own trainer on the same network."""
    import torch
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(PIXELS, HIDDEN), torch.nn.ReLU())
            self.mean = torch.nn.Linear(HIDDEN, LATENT)
            self.logvar = torch.nn.Linear(HIDDEN, LATENT)

        def forward(self, x: Any) -> Any:
            h = self.body(x.reshape(-1, PIXELS))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.logvar(h))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(
                torch.nn.Linear(LATENT, HIDDEN), torch.nn.ReLU(),
                torch.nn.Linear(HIDDEN, PIXELS), torch.nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=self.body(z))

    from pythae.data.datasets import BaseDataset

    bits = torch.as_tensor(np.random.default_rng(0).integers(0, 2, (ROWS, PIXELS))).float()
    data = BaseDataset(bits, torch.ones(ROWS))
    config = VAEConfig(input_dim=(PIXELS,), latent_dim=LATENT, reconstruction_loss="bce")
    trainer = BaseTrainer(
        VAE(config, encoder=Encoder(), decoder=Decoder()), data, None,
        BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(), num_epochs=1, per_device_train_batch_size=BATCH_SIZE,
            learning_rate=1e-4, no_cuda=True,
        ),
    )  # fmt: skip
    trainer.prepare_training()

    def epoch() -> float:
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.train_step(1)
        return time.perf_counter() - began

    return epoch


def evaluation(samples: int) -> tuple[float, float, float]:
    """GFLOP/s of `log_marginal`'s decoder products and of such products alone, and the seconds of
    256 images."""
    vae = build()
    params = vae.init(jax.random.key(0))
    x = np.random.default_rng(0).integers(0, 2, (256, PIXELS)).astype(np.float32)
    z = jax.random.normal(jax.random.key(1), (DRAWS, LATENT))
    layers = params["decoder"]["layers"]
    flops = 2 * (LATENT * HIDDEN + HIDDEN * PIXELS)

    @jax.jit
    def alone(z: Any) -> Any:
        def body(_: int, carry: Any) -> Any:
            z, _ = jax.lax.optimization_barrier(carry)
            return z, z @ layers["hidden_0"]["kernel"] @ layers["out"]["kernel"]

        return jax.lax.fori_loop(0, 20, body, (z, jnp.zeros((DRAWS, PIXELS))))[1]

    def ours() -> Any:
        return vj.log_marginal(vae, params, jax.random.key(0), x, samples)

    jax.block_until_ready(alone(z)), ours()
    began = time.perf_counter()
    jax.block_until_ready(alone(z))
    ceiling = 20 * DRAWS * flops / (time.perf_counter() - began) / 1e9
    began = time.perf_counter()
    ours()
    seconds = time.perf_counter() - began
    return len(x) * samples * flops / seconds / 1e9, ceiling, seconds


def main(settings: Settings) -> None:
    check_count("repeats", settings.repeats)
    logging.disable(logging.INFO)
    os.environ.setdefault("TQDM_DISABLE", "1")
    contestants = {"vae_jax": ours(), "products": products()}
    if importlib.util.find_spec("pythae"):
        contestants["pythae"] = pythaes()
    else:
        print("pythae is not installed (pip install 'vae-jax[bench]'): ours alone.\n")
    for call in contestants.values():
        call()
    rounds = [{name: call() for name, call in contestants.items()} for _ in range(settings.repeats)]
    seconds: Samples = {name: [each[name] for each in rounds] for name in contestants}
    cells = [median(seconds, name, digits=3) for name in ("vae_jax", "pythae", "products")]
    cells += [ratio(seconds, "vae_jax", "pythae"), "0.3"]
    cells += [ratio(seconds, "products", "vae_jax"), "0.7"]
    header = ["vae_jax (s)", "pythae (s)", "products (s)", "ours / pythae", "goal, at most",
              "products / ours", "goal"]  # fmt: skip
    print(table(f"One epoch of {ROWS:,} images:", header, [cells]))
    speed, ceiling, taken = evaluation(settings.samples)
    print(
        f"\nlog_marginal: 256 images x {settings.samples:,} samples in {taken:.2f} s, its "
        f"decoder's products at {speed:,.0f} GFLOP/s of the {ceiling:,.0f} that they reach alone; "
        f"10,000 images: {taken * 10_000 / 256:,.0f} s."
    )
    print(f"\nMedians of {settings.repeats} repeats (quartiles). {machine()}")


if __name__ == "__main__":
    run(main, Settings)
