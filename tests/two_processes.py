"""The program of test_processes: a sweep and a data-parallel run, alone or as one of several.

`python two_processes.py FOLDER FATE [PORT NUMBER COUNT]` goes on with what is in FOLDER. With the
fate "sweep" or "fit" the process of the last number ends itself, as by a power cut, after the
second save of that; with "live" it does not.
"""

import importlib
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax

import vae_jax as vj

FOLDER, FATE = Path(sys.argv[1]), sys.argv[2]
jax.config.update("jax_disable_most_optimizations", True)
DATA = np.asarray(np.random.default_rng(7).normal(size=(40, 3)), np.float32)
BATCHES = vj.array_batches(8)


def build() -> vj.Problem:
    vae = vj.build_vae(
        vj.MLPEncoder(2, ()), vj.MLPDecoder(3, ()), likelihood=vj.normal(),
        prior=vj.standard_normal(2), data_shape=(3,),
    )  # fmt: skip
    return vj.Problem(vae, vj.make_elbo(vae), BATCHES)


def die_after(saves: int, module: str, name: str, last: bool) -> None:
    """Ends the last process once `module.name` has been called this often."""
    owner, calls = importlib.import_module(module), []
    saving = getattr(owner, name)

    def save(*args: object) -> None:
        saving(*args)
        calls.append(args)
        if last and len(calls) == saves:
            os._exit(9)

    setattr(owner, name, save)


def arrays(tree: object) -> dict[str, object]:
    return {f"params{i}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def main() -> None:
    if len(sys.argv) > 3:
        port, number, count = map(int, sys.argv[3:])
        vj.processes.initialize(f"localhost:{port}", count, number, timeout=60)
    for module in ("vae_jax.sweep", "vae_jax.keeper"):
        importlib.import_module(module).SAVE_SECONDS = -1.0
    last = jax.process_index() == jax.process_count() - 1
    if FATE == "sweep":
        die_after(2, "vae_jax.sweep", "save_ledger", last)

    def on_chunk(state: vj.TrainState) -> None:
        if FATE == "fit" and last and int(state.step) == 20:
            time.sleep(2.0)  # the first process writes its checkpoint meanwhile
            os._exit(9)

    table = vj.product(seed=range(6), learning_rate=[1e-2])
    table[4]["learning_rate"] = 1e30
    result = vj.sweep(
        build, table, DATA, num_steps=30, chunk_steps=10, run_dir=FOLDER / "sweep",
        resume=(FOLDER / "sweep").exists(), progress=False,
    )  # fmt: skip
    problem = build()
    fitted = vj.fit(
        problem.vae, problem.loss_fn, optax.adam(1e-2), DATA, jax.random.key(0), batch_fn=BATCHES,
        num_steps=30, chunk_steps=10, run_dir=FOLDER / "run", progress=False,
        resume=(FOLDER / "run").exists(), on_chunk=on_chunk,
        mesh=vj.make_mesh(data=jax.device_count()),
    )  # fmt: skip
    number, found = jax.process_index(), {"rates": result.rates, "active": result.active}
    swept = arrays(result.groups[0].params)
    np.savez(FOLDER / f"sweep{number}.npz", **result.metrics, **found, **swept)
    np.savez(FOLDER / f"run{number}.npz", **fitted.metrics, **arrays(fitted.state.params))


if __name__ == "__main__":
    main()
