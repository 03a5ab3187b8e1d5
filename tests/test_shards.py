"""A sweep cut into shards and joined again is the sweep; what does not fit together is refused."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import contents
from test_sweep_resume import TABLE, assert_same, build, run

import vae_jax
from experiments import merge_shards as merge_experiment
from experiments import sweep as sweep_experiment
from experiments.sweep import parse_shard
from vae_jax import run_folder
from vae_jax.ledger import ledger_path
from vae_jax.table import take_shard

pytestmark = pytest.mark.usefixtures("compiled_once")
TABLE = [*TABLE[:4], {"hidden": (2,), "seed": 7, "learning_rate": 1e-2}]


@pytest.fixture(scope="module")
def parts(tmp_path_factory, compiled_once):
    """The folders of a whole sweep and of its two shards, not to be changed."""
    folder = tmp_path_factory.mktemp("sweeps")
    run(TABLE, run_dir=folder / "whole")
    for number in (1, 2):
        run(TABLE, run_dir=folder / f"shard{number}", shard=(number, 2))
    return folder


def merge(parts, names, out):
    vae_jax.merge_shards([parts / name for name in names], out)


@pytest.mark.slow
def test_merged_shards_are_the_sweep(parts, tmp_path):
    """Metrics, rates and parameters to 1e-4, settings exactly, in the order of the table; merged,
    they can be opened, and resuming finds nothing to do."""
    before = contents(parts)
    merge(parts, ["shard2", "shard1"], tmp_path / "out")
    assert contents(parts) == before
    merged = vae_jax.load_sweep(build, tmp_path / "out")
    whole = vae_jax.load_sweep(build, parts / "whole")
    assert_same(merged, whole, rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads(
        (parts / "whole" / "config.json").read_text()
    )
    assert_same(run(TABLE, run_dir=tmp_path / "out", resume=True), merged)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no shards"),
        (["shard1"], "Of 2 shards, 2 are missing"),
        (["shard1", "shard2", "copy"], "overlap: both are shard 1"),
        (["shard1", "whole"], "holds a whole sweep"),
        (["shard1", "other"], "num_steps differ"),
        (["shard1", "third"], "another number"),
        (["shard1", "half"], "not finished: 1 replicas"),
        (["shard1", "short"], "no shard of 4 rows has"),
        (["shard1", "nothing"], "is missing"),
    ],
)
def test_shards_that_do_not_fit_are_refused(parts, names, message, tmp_path):
    """Missing, overlapping, of another sweep, not finished: an error, and nothing is written."""
    changes = {
        "copy": {},
        "other": {"num_steps": 31, "shard": {"number": 2, "count": 2}},
        "third": {"shard": {"number": 2, "count": 3}},
        "short": {"shard": {"number": 2, "count": 2}},
        "half": {"shard": {"number": 2, "count": 2}},
    }
    for name, change in changes.items():
        source = "shard2" if name == "half" else "shard1"
        shutil.copytree(parts / source, tmp_path / name)
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text()) | change
        if name == "short":
            config["table"] = config["table"][:1]
        run_folder.save_config(path.parent, config)
    unfinish(ledger_path(tmp_path / "half", 0), ledger_path(tmp_path / "half", 1))
    folders = [(parts if (parts / name).exists() else tmp_path) / name for name in names]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        vae_jax.merge_shards(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def unfinish(*paths):
    """Takes the last step of every replica of these files back."""
    from vae_jax.checkpoint import load_arrays, save_tree

    for path in paths:
        arrays = {name: array.copy() for name, array in load_arrays(path).items()}
        arrays["steps"] -= 1
        save_tree(path, arrays)


def test_shards_share_the_rows():
    """Each row is in one shard; i is 1 ... n, and n at most the number of rows."""
    rows = [{"seed": seed} for seed in range(5)]
    shards = [take_shard(rows, (number, 3)) for number in (1, 2, 3)]
    assert sorted(row["seed"] for shard in shards for row in shard) == [0, 1, 2, 3, 4]
    for shard in ((0, 3), (4, 3), (1, 6)):
        with pytest.raises(ValueError, match="shard"):
            take_shard(rows, shard)


@pytest.mark.parametrize("text", ["2", "2/", "a/b", "1/2/3", "-1/2"])
def test_shards_that_cannot_be_read_are_refused(text):
    """--shard is i/n."""
    with pytest.raises(ValueError, match="i/n"):
        parse_shard(text)


def test_the_job_array_end_to_end(tmp_path):
    """Two shards by the command line's settings, merged by the command, with figures and a run."""
    out = tmp_path / "sweep"
    common = {"grid": "beta=1e-2,1 seed=0..1", "steps": 10, "hidden_dim": 2, "out": out}
    for number in (1, 2):
        sweep_experiment.main(sweep_experiment.Settings(**common, shard=f"{number}/2"))
    merge_experiment.main(merge_experiment.Settings(out))
    for name in ("rate_distortion.png", "table.md", "best/config.json"):
        assert (out / name).is_file()
    with np.load(out / "metrics.npz") as file:
        np.testing.assert_array_equal(file["seed"], [0, 1, 0, 1])
        assert file["loss"].shape == (4, 10)
        assert file["rates"].shape == (4, 2)
    with pytest.raises(FileNotFoundError, match="shard-i-of-n"):
        merge_experiment.main(merge_experiment.Settings(tmp_path / "other"))


CLUSTER = Path(__file__).parents[1] / "experiments" / "cluster"


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*/*.sh")), ids=lambda path: path.name)
def test_scripts_are_shell(path):
    """bash parses them, and they stop at the first error."""
    subprocess.run(["bash", "-n", path], check=True)
    assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*/*")), ids=lambda path: path.name)
def test_scripts_name_flags_that_exist(path):
    """Every --flag after `experiments.sweep` or `merge_shards` is one of its settings."""
    modules = {"sweep": sweep_experiment, "merge_shards": merge_experiment}
    text = path.read_text().replace("\\\n", " ")
    for line in (line for line in text.splitlines() if "-m experiments." in line):
        name, *words = line.split("-m experiments.")[1].replace("`", " ").split()
        fields = modules[name].Settings.__dataclass_fields__
        flags = [word.split("=")[0] for word in words if word.startswith("--")]
        assert all(flag[2:].replace("-", "_") in fields for flag in flags), line


def test_manifests_are_yaml():
    """They parse, and the processes that a manifest counts are those that it starts."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not needed for anything else")
    [jobset] = yaml.safe_load_all((CLUSTER / "kubernetes" / "jobset.yaml").read_text())
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert job["completions"] == job["parallelism"] == int(variables["JAX_NUM_PROCESSES"])
    name = jobset["metadata"]["name"]
    host = f"{name}-{jobset['spec']['replicatedJobs'][0]['name']}-0-0.{name}"
    assert variables["JAX_COORDINATOR_ADDRESS"].split(":")[0] == host
    [train] = yaml.safe_load_all((CLUSTER / "kubernetes" / "trainjob.yaml").read_text())
    assert train["spec"]["runtimeRef"]["name"] == "jax-distributed"
