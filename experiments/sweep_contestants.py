"""What `sweep_benchmark` lets compete, in a process with a number of devices of its own.

`python -m experiments.sweep_contestants DEVICES` answers on stdout what it is asked on stdin, a
line of JSON each: ["rate", seconds, kind, *arguments], ["memory", width, replicas] or ["compile",
width, replicas, steps].
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

import vae_jax as vj
from experiments.benchmark import BATCH_SIZE, PRODUCTS
from experiments.sweep import problem
from vae_jax.blocks import needed
from vae_jax.devices import make_mesh, shard_replicas
from vae_jax.replicas import Compiled, compile_group
from vae_jax.schedules import constant
from vae_jax.table import TRACED


def steps_of(width: int, count: int) -> int:
    """Steps of one call: enough work for the clock, however many replicas and however wide."""
    return max(5, min(1000, 2**27 // (width**2 * count)))


def compiled_group(width: int, num_steps: int) -> Compiled:
    """The Swiss roll's sweep of one width over all devices of this process."""
    mesh = make_mesh(devices=jax.devices())
    return compile_group(problem(width), None, dict(TRACED), constant, num_steps, mesh)


def rows(count: int) -> list[dict[str, Any]]:
    """A table of this many seeds."""
    return [TRACED | {"seed": seed, "beta": 0.01} for seed in range(count)]


def sweep_contestant(width: int, count: int) -> Callable[[], int]:
    """All replicas for some steps, as one program."""
    steps = steps_of(width, count)
    group = compiled_group(width, steps)
    states, rngs, betas = group.start(rows(count), count)
    program, _ = group.program(count, steps)

    def replicas() -> int:
        jax.block_until_ready(program(states, rngs, group.data, betas))
        return steps * count

    return replicas


def product_contestant(width: int, count: int) -> Callable[[], int]:
    """The matrix products of a step alone, for all replicas, over all devices of this process:
    a batched product at their shapes, no sooner than the one before."""
    mesh, steps = make_mesh(devices=jax.devices()), steps_of(width, count)
    spec = PartitionSpec("replica")
    shapes = ((count, BATCH_SIZE, width), (count, width, width), (count, BATCH_SIZE, width))
    random = np.random.default_rng(0)
    arrays = shard_replicas(mesh, [random.normal(size=s).astype(np.float32) for s in shapes])

    def body(_: int, carry: Any) -> Any:
        left, right, _ = jax.lax.optimization_barrier(carry)
        return left, right, jnp.matmul(left, right)

    def loop(*carry: Any) -> Any:
        return jax.lax.fori_loop(0, PRODUCTS * steps, body, carry)[2]

    mapped = jax.shard_map(loop, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    program = jax.jit(mapped).lower(*arrays).compile()

    def products() -> int:
        jax.block_until_ready(program(*arrays))
        return steps * count

    return products


def scan_contestant(width: int) -> Callable[[], int]:
    """One replica by `train_scan`, on one device."""
    made, rng, steps = problem(width), jax.random.key(0), steps_of(width, 1)
    state = vj.init_train_state(rng, made.vae.init, made.loss_fn, optax.adam(1e-3))
    options = {"batch_fn": made.batch_fn, "num_steps": steps}
    scan = vj.train_scan.lower(state, rng, None, 0.01, **options).compile()
    return lambda: int(scan(state, rng, None, 0.01)[0].step)


def torch_contestant(width: int) -> Callable[[], int]:
    """PyTorch's eager steps of one model: replicas one after another cost just that."""
    from experiments import torch_notebook

    step = torch_notebook.make(width)

    def steps() -> int:
        for _ in range(10):
            loss, _, _ = step()
        loss.item()
        return 10

    return steps


MAKERS: dict[str, Callable[..., Callable[[], int]]] = {
    "sweep": sweep_contestant,
    "products": product_contestant,
    "scan": scan_contestant,
    "torch": torch_contestant,
}


def work(devices: int) -> None:
    """Answers on stdout, one line of JSON each, what is asked on stdin."""
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
    made: dict[Any, Any] = {}
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "rate":
            seconds, kind, *shape = arguments
            key = (kind, *shape)
            if key not in made:
                made[key] = MAKERS[kind](*shape)
                made[key]()
            answer: Any = _rate(made[key], seconds)
        else:
            answer = {"memory": memory, "compile": compile_seconds}[what](*arguments)
        print(json.dumps(answer), flush=True)


def _rate(contestant: Callable[[], int], seconds: float) -> float:
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < seconds:
        steps += contestant()
    return steps / (time.perf_counter() - began)


def memory(width: int, count: int) -> int:
    """Bytes of a sweep's program, by the compiler's account, all devices together."""
    steps = steps_of(width, count)
    group = compiled_group(width, steps)
    return int(needed(group.program(count, steps)[0]) * group.mesh.size)


def compile_seconds(width: int, count: int, steps: int) -> float:
    """Seconds from nothing to a compiled program of so many replicas and steps."""
    group = compiled_group(width, steps)
    began = time.perf_counter()
    group.program(count, steps)
    return time.perf_counter() - began


if __name__ == "__main__":
    work(int(sys.argv[1]))
