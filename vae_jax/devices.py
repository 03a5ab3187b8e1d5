"""Where the arrays of many replicas, or of one large batch, live."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vae_jax.checks import check_count
from vae_jax.types import Array, BatchFn, Key

AXES = ("replica", "data")
FLAG = "xla_force_host_platform_device_count"


def use_all_cores() -> None:
    """Makes every CPU core that this process may use a device, so that replicas spread over them.

    To be called before anything is computed; afterwards, and where the number of CPU devices has
    been set already, it changes nothing. Accelerators are unaffected.
    """
    chosen = getattr(jax.config, "jax_num_cpu_devices", -1) > 0
    if chosen or FLAG in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # the devices exist already
        jax.config.update("jax_num_cpu_devices", num_cores())


def num_cores() -> int:
    """The cores that this process may use: a cluster's scheduler often grants a part of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_mesh(data: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with the axes "replica" and "data" over all devices, or over those given.

    `data` devices share the batch of a replica; the others are for more replicas.

    Raises:
        TypeError, ValueError: `data` is not a whole number that divides the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    if len(devices) % check_count("data", data):
        raise ValueError(f"data={data} does not divide the {len(devices)} devices; use a divisor.")
    grid = np.array(devices).reshape(-1, data)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 2)


def shard_batches(batch_fn: BatchFn, mesh: Mesh) -> BatchFn:
    """`batch_fn` with its batch spread over the mesh's "data" axis, for one large model.

    The program then computes each device's share of the gradient and adds them up; the result is
    that of one device up to the order of summation.
    """
    spread = NamedSharding(mesh, PartitionSpec("data"))

    def sharded(data: object, rng: Key, step: Array) -> Array:
        x = batch_fn(data, rng, step)
        for leaf in jax.tree.leaves(x):
            if leaf.shape[0] % mesh.shape["data"]:
                raise ValueError(
                    f"A batch of {leaf.shape[0]} does not divide over {mesh.shape['data']} devices."
                )
        placed: Array = jax.lax.with_sharding_constraint(x, spread)
        return placed

    return sharded


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """`tree` with its arrays copied to every device of the mesh, whatever process it is of."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def copy(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray) or _is_key(leaf):
            return leaf
        return jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(copy, tree)


def shard_replicas(mesh: Mesh, tree: Any) -> Any:
    """Arrays [R, ...] that every process has, spread over the mesh's "replica" axis."""
    sharding = NamedSharding(mesh, PartitionSpec("replica"))

    def shard(leaf: Any) -> Array:
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(shard, tree)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
