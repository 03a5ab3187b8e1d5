"""Where the arrays of many replicas, or of one large batch, live."""

import contextlib
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from vae_jax.checks import check_count
from vae_jax.types import Array, BatchFn, Key

AXES = ("replica", "data")
FLAG = "xla_force_host_platform_device_count"


def use_all_cores() -> None:
    """Makes every CPU core a device of its own, so that replicas spread over the cores.

    To be called before anything is computed; afterwards, and where the number of CPU devices has
    been set already, it changes nothing. Accelerators are unaffected.
    """
    chosen = getattr(jax.config, "jax_num_cpu_devices", -1) > 0
    if chosen or FLAG in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # the devices exist already
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


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
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))

    def sharded(data: object, rng: Key, step: Array) -> Array:
        x = batch_fn(data, rng, step)
        if x.shape[0] % mesh.shape["data"]:
            raise ValueError(
                f"A batch of {x.shape[0]} does not divide over {mesh.shape['data']} devices."
            )
        return jnp.asarray(jax.lax.with_sharding_constraint(x, spread))

    return sharded
