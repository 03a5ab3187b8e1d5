"""Training speed on the Swiss roll: vae_jax against PyTorch and against the bare matrix products.

Every number comes from one interleaved run: in each repeat all contestants take their turn, so a
machine that drifts hits them alike; speeds are medians over the repeats, and ratios are medians of
the ratios within a repeat. `--process` times whole cold processes with their figures instead.
PyTorch is optional (extra `bench`).
"""

import dataclasses
import datetime
import importlib.util
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vae_jax as vj
from experiments.command import run
from vae_jax.checks import check_count

BATCH_SIZE, DEPTH, BETA = 128, 3, 0.01
PRODUCTS = 3 * 2 * (DEPTH - 1)
"""Products [B, W] x [W, W] in a step: forward, backward to the data and to the weights."""
TURN_SECONDS = 0.3
"""Least time of one turn of one contestant."""
EAGER_GOALS, PRODUCT_GOALS, PROCESS_GOAL = {32: "13", 256: "4", 1024: "2.7"}, {256: "0.8"}, "0.6"
"""On two CPU cores: train_scan's speed over PyTorch's and over that of the products, at least;
the time of the whole process over that of the notebook's, at most."""
HAS_TORCH = importlib.util.find_spec("torch") is not None
NO_TORCH = "PyTorch is not installed (pip install 'vae-jax[bench]'): the jax numbers alone.\n"

Rates = dict[str, list[float]]
"""For each contestant, one number for each repeat."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure."""

    widths: tuple[int, ...] = (32, 256, 1024)
    """Hidden widths of the networks."""
    repeats: int = 9
    """Turns that every contestant gets."""
    process: bool = False
    """Time whole processes, training and figures, instead of the training loop."""


class Contestant(NamedTuple):
    """A call that does the work of `size` training steps."""

    call: Callable[[], object]
    size: float


def step_flops(width: int) -> int:
    """Floating-point operations of the `PRODUCTS` of one step: 201 million at W = 256.

    The layers with two or four inputs or outputs are left out: 1 % at W = 256, 8 % at W = 32.
    """
    return PRODUCTS * 2 * BATCH_SIZE * width**2


def scan_steps(width: int) -> int:
    """Steps of one call of train_scan: the notebook's 1000, fewer for wide networks."""
    return min(1000, max(20, int(2e11 / step_flops(width))))


def product(width: int, lhs: int, rhs: int) -> Contestant:
    """A loop over one float32 product, contracting the axis `lhs` with the axis `rhs`.

    a @ w is (1, 0), g @ w.T is (1, 1) and a.T @ g is (0, 0). Its unit of work is a step made of
    such products alone. The barrier makes each wait for the one before: without it the compiler
    would take the constant product out of the loop.
    """
    rng_left, rng_right = jax.random.split(jax.random.key(0))
    left = jax.random.normal(rng_left, (BATCH_SIZE, width))
    right = jax.random.normal(rng_right, (BATCH_SIZE if lhs == 0 else width, width))
    num = PRODUCTS * scan_steps(width)

    def body(_: int, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, right, _ = jax.lax.optimization_barrier(carry)
        return left, right, jax.lax.dot_general(left, right, (((lhs,), (rhs,)), ((), ())))

    loop = jax.jit(lambda *carry: jax.lax.fori_loop(0, num, body, carry)[2])
    out = jnp.zeros((width if lhs == 0 else BATCH_SIZE, width))
    return Contestant(lambda: jax.block_until_ready(loop(left, right, out)), num / PRODUCTS)


def jax_contestants(width: int) -> tuple[dict[str, Contestant], float]:
    """train_scan, train_step called from Python, the products; and train_scan's compile time."""
    hidden, num_steps = (width,) * DEPTH, scan_steps(width)
    vae = vj.build_vae(
        vj.MLPEncoder(hidden=hidden), vj.MLPDecoder(hidden=hidden),
        likelihood=vj.squared_error(), prior=vj.standard_normal(2), data_shape=(2,),
    )  # fmt: skip
    rng, batch_fn = jax.random.key(0), jax.jit(vj.swiss_roll_batches(BATCH_SIZE))
    start = vj.init_train_state(rng, vae.init, vj.make_teaching(vae), optax.adam(1e-3))
    options = {"batch_fn": batch_fn, "num_steps": num_steps}
    began = time.perf_counter()
    scan = vj.train_scan.lower(start, rng, None, BETA, **options).compile()
    compile_seconds = time.perf_counter() - began

    def steps() -> None:
        state = start
        for index in range(50):
            x = batch_fn(None, rng, index)
            state, metrics = vj.train_step(state, jax.random.fold_in(rng, index), x, BETA)
        jax.block_until_ready((state, metrics))

    def scanned() -> None:
        jax.block_until_ready(scan(start, rng, None, BETA))

    return {
        "train_scan": Contestant(scanned, num_steps),
        "train_step": Contestant(steps, 50),
        "a @ w": product(width, 1, 0),
        "g @ w.T": product(width, 1, 1),
        "a.T @ g": product(width, 0, 0),
    }, compile_seconds


def torch_contestants(width: int) -> dict[str, Contestant]:
    """PyTorch's training step, eager and, where that works, compiled."""
    if not HAS_TORCH:
        return {}
    import torch

    from experiments import torch_notebook

    torch.compiler.reset()
    found = {}
    for name, compiled in (("PyTorch eager", False), ("torch.compile", True)):
        step = torch_notebook.make(width, compiled)

        def steps(step: torch_notebook.Step = step) -> None:
            for _ in range(10):
                loss, _, _ = step()
            loss.item()

        try:
            steps()
        except RuntimeError as error:  # no C++ compiler
            print(f"torch.compile does not work here: {str(error).splitlines()[0]}")
        else:
            found[name] = Contestant(steps, 10)
    return found


def measure(contestants: dict[str, Contestant], repeats: int) -> Rates:
    """Steps per second of every contestant in every repeat, after a warm-up."""
    calls = {name: _warm_up(contestant.call) for name, contestant in contestants.items()}
    rates: Rates = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            seconds = _seconds(contestant.call, calls[name])
            rates[name].append(contestant.size * calls[name] / seconds)
    return rates


def _warm_up(call: Callable[[], object]) -> int:
    """Calls once, then returns how many calls fill a turn."""
    call()
    return max(1, round(TURN_SECONDS / min(_seconds(call, 1) for _ in range(3))))


def _seconds(call: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - began


def ratio(rates: Rates, above: str, below: str) -> str:
    """Median of the ratios within a repeat, and their quartiles; a dash if one was not measured."""
    if not {above, below} <= rates.keys():
        return "–"
    low, middle, high = np.quantile(np.divide(rates[above], rates[below]), [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def median(rates: Rates, name: str, unit: float = 1.0, digits: int = 0) -> str:
    """The median of one contestant in this unit; a dash if it was not measured."""
    return f"{unit * statistics.median(rates[name]):,.{digits}f}" if name in rates else "–"


def table(rows: list[dict[str, str]]) -> str:
    """A markdown table of these rows."""
    header = list(rows[0])
    lines = [header, ["--:"] * len(header), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def speed_row(width: int, rates: Rates, compile_seconds: float) -> dict[str, str]:
    """Steps per second and ratios of one width."""
    names = ("PyTorch eager", "torch.compile", "train_step", "train_scan")
    return {
        "width": str(width),
        **{name: median(rates, name) for name in names},
        "scan / eager": ratio(rates, "train_scan", "PyTorch eager"),
        "goal": EAGER_GOALS.get(width, "–"),
        "scan / compile": ratio(rates, "train_scan", "torch.compile"),
        "scan compiles in (s)": f"{compile_seconds:.1f}",
    }


def product_row(width: int, rates: Rates) -> dict[str, str]:
    """train_scan's floating-point rate against that of the bare products, of one width."""
    kinds = ("a @ w", "g @ w.T", "a.T @ g")
    steps = zip(*(rates[kind] for kind in kinds), strict=True)
    rates = rates | {"mix": [statistics.harmonic_mean(each) for each in steps]}
    unit = step_flops(width) / 1e9
    return {
        "width": str(width),
        **{name: median(rates, name, unit) for name in ("train_scan", *kinds)},
        "scan / (a @ w)": ratio(rates, "train_scan", "a @ w"),
        "goal": PRODUCT_GOALS.get(width, "–"),
        "scan / mix of the three": ratio(rates, "train_scan", "mix"),
    }


def loops(settings: Settings) -> str:
    """The two tables about the training loop."""
    speeds, products = [], []
    for width in settings.widths:
        contestants, compile_seconds = jax_contestants(width)
        rates = measure(torch_contestants(width) | contestants, settings.repeats)
        speeds.append(speed_row(width, rates, compile_seconds))
        products.append(product_row(width, rates))
    title = "GFLOP/s of the training loop, and of the products it consists of, each kind alone:"
    return f"Steps per second:\n\n{table(speeds)}\n\n{title}\n\n{table(products)}"


def processes(settings: Settings) -> str:
    """The table about whole processes; the first round, which fills the disk cache, is left out."""
    names = ["swiss_roll", "torch_notebook"] if HAS_TORCH else ["swiss_roll"]
    rounds = [{name: process_seconds(name) for name in names} for _ in range(settings.repeats + 1)]
    seconds = {name: [each[name] for each in rounds[1:]] for name in names}
    row = {f"{name} (s)": median(seconds, name, digits=1) for name in names}
    row |= {"ratio": ratio(seconds, "swiss_roll", "torch_notebook"), "goal, at most": PROCESS_GOAL}
    return f"Whole processes, with their figures:\n\n{table([row])}"


def process_seconds(name: str) -> float:
    """Wall time of `python -m experiments.NAME --out FOLDER`, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"experiments.{name}", "--out", str(Path(folder) / "run")]
        root, began = Path(__file__).parents[1], time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=root)
        return time.perf_counter() - began


def machine() -> str:
    """Processor, versions and date."""
    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = found[1]
    device = "" if jax.default_backend() == "cpu" else f", {jax.devices()[0].device_kind}"
    packages = ["jax", "flax", "optax", "numpy", *(["torch"] if HAS_TORCH else [])]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    where = f"{cpu}, {os.cpu_count()} cores{device}; Python {platform.python_version()}"
    return f"{where}, {versions}; {datetime.date.today().isoformat()}"


def main(settings: Settings) -> None:
    """Prints the tables in markdown."""
    check_count("repeats", settings.repeats)
    if not HAS_TORCH:
        print(NO_TORCH)
    text = processes(settings) if settings.process else loops(settings)
    print(f"{text}\n\nMedians of {settings.repeats} repeats (quartiles). {machine()}")


if __name__ == "__main__":
    run(main, Settings)
