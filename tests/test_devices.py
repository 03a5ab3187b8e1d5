"""The same sweep and the same large batch on one, two and four devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import json, sys
import jax, numpy as np, optax
import vae_jax as vj
from vae_jax import Problem, make_mesh, product, shard_batches, sweep

data = np.asarray(jax.random.normal(jax.random.key(7), (37, 3)))
vae = vj.build_vae(
    vj.MLPEncoder(2, (4,)), vj.MLPDecoder(3, (4,)), likelihood=vj.normal(),
    prior=vj.standard_normal(2), data_shape=(3,),
)
loss_fn, batches = vj.make_elbo(vae), vj.array_batches(8)
table = product(seed=[0, 1, 2], beta=[0.5, 1.0], learning_rate=[1e-2])
found = sweep(
    lambda: Problem(vae, loss_fn, batches), table, data, num_steps=20, progress=False
)
mesh = make_mesh(data=len(jax.devices()))
state = vj.init_train_state(jax.random.key(0), vae.init, loss_fn, optax.adam(1e-2))
_, metrics = vj.train_scan(
    state, jax.random.key(1), data, 1.0, batch_fn=shard_batches(batches, mesh), num_steps=20
)
print(json.dumps({
    "devices": len(jax.devices()),
    "sweep": found.metrics["loss"].tolist(),
    "data": np.asarray(metrics["loss"]).tolist(),
}))
"""


@pytest.fixture(scope="module")
def answers() -> dict[int, dict]:
    """What the script finds in a process with this many CPU devices, for 1, 2 and 4 of them."""
    processes = {}
    for devices in (1, 2, 4):
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
        processes[devices] = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], env=environment, cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    found = {devices: process.communicate()[0] for devices, process in processes.items()}
    return {devices: json.loads(text.splitlines()[-1]) for devices, text in found.items()}


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_change_nothing_but_rounding(devices, answers):
    """Replicas over devices, and a batch over devices, to 1e-4 after 20 steps."""
    one, many = answers[1], answers[devices]
    assert (one["devices"], many["devices"]) == (1, devices)
    for name in ("sweep", "data"):
        np.testing.assert_allclose(many[name], one[name], rtol=1e-4, atol=1e-5)
