"""A module imports only modules of a strictly lower level."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vae_jax

LEVELS = {
    "types": 0,
    "checks": 0,
    "checkpoint": 0,
    "progress": 0,
    "interrupts": 0,
    "numerics": 1,
    "gaussian": 1,
    "networks.layers": 0,
    "networks.convolution": 0,
    "networks.record": 1,
    "networks.mlp": 1,
    "networks.conv": 1,
    "networks.bounded": 1,
    "networks": 2,
    "train": 1,
    "devices": 1,
    "rendezvous": 0,
    "processes": 1,
    "schedules": 1,
    "data.files": 0,
    "data.arrays": 1,
    "data.swiss_roll": 1,
    "data.download": 1,
    "data.image_files": 2,
    "data.image_batches": 2,
    "data.sources": 3,
    "data.images": 4,
    "data.idx": 1,
    "data.npy": 1,
    "data.csv_files": 1,
    "data.parquet_files": 1,
    "data.standardization": 1,
    "data.order": 2,
    "data.shards": 2,
    "data.tables": 2,
    "data.stream": 3,
    "data": 5,
    "train_stream": 6,
    "likelihoods.record": 1,
    "likelihoods.scale": 1,
    "likelihoods.bits": 2,
    "likelihoods.counts": 2,
    "likelihoods.pixels": 2,
    "likelihoods.reals": 2,
    "likelihoods": 3,
    "couplings": 1,
    "priors": 2,
    "posteriors": 2,
    "model": 3,
    "draws": 4,
    "evaluate": 5,
    "marginal": 5,
    "testbed": 5,
    "scores": 6,
    "walks": 6,
    "inputs": 4,
    "spec": 4,
    "objectives.terms": 5,
    "objectives.weights": 5,
    "objectives.iwae": 6,
    "objectives.miwae": 6,
    "objectives.ciwae": 6,
    "objectives.piwae": 6,
    "objectives.capacity": 6,
    "objectives.tcvae": 6,
    "objectives.mmd": 6,
    "objectives.dip": 6,
    "objectives.factor": 6,
    "objectives.vq": 6,
    "objectives.elbo": 6,
    "objectives.teaching": 6,
    "objectives": 7,
    "lock": 0,
    "tensorboard": 0,
    "snapshots": 1,
    "metrics_file": 1,
    "run_folder": 5,
    "diagnosis": 6,
    "replicas": 7,
    "table": 8,
    "ledger": 2,
    "blocks": 8,
    "sweep_folder": 9,
    "results": 10,
    "sweep": 11,
    "shards": 11,
    "breakage": 0,
    "programs": 5,
    "expost": 6,
    "patience": 2,
    "epoch_programs": 4,
    "epoch_files": 6,
    "epochs": 7,
    "replay": 2,
    "keeper": 6,
    "opening": 7,
    "feed": 7,
    "loop": 8,
    "fit": 9,
    "": 12,
}
"""Module below vae_jax -> level; "" is the package itself. A new module takes its place here."""

ROOT = Path(vae_jax.__file__).parent


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(path):
    """Every module that the file imports, anywhere in it, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = full.removeprefix("vae_jax.") in MODULES
                yield full if is_module else node.module


def test_every_module_has_a_level():
    """The table and the files are the same set."""
    assert set(MODULES) == set(LEVELS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_strictly_down(name):
    """level(imported) < level(importer)."""
    for module in imported(MODULES[name]):
        if module.split(".")[0] == "vae_jax":
            other = module.removeprefix("vae_jax").removeprefix(".")
            assert LEVELS[other] < LEVELS[name], f"vae_jax.{name} imports {module}"


def test_only_networks_imports_flax():
    """Another network library can be added without touching a file of another folder."""
    users = {name for name, path in MODULES.items() if any("flax" in m for m in imported(path))}
    assert users == {"networks.bounded", "networks.conv", "networks.mlp", "networks.record"}


def test_importing_the_package_is_light():
    """import vae_jax leaves plotting, saving and fitting libraries alone.

    rich is not on the list: flax.linen itself imports it.
    """
    heavy = [
        "matplotlib",
        "orbax",
        "sklearn",
        "scipy.optimize",
        "pandas",
        "torch",
        "tyro",
        "pooch",
        "PIL",
        "pyarrow",
        "tensorboardX",
    ]
    program = f"import sys, vae_jax; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
