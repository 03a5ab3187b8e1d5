"""Training speed on the Swiss roll: vae_jax against PyTorch and against the bare matrix products.

In each repeat all contestants take their turn, so a machine that drifts hits them alike. Speeds
are medians over the repeats, ratios are medians of the ratios within a repeat. PyTorch is
optional (extra `bench`). Nothing else should run meanwhile: PyTorch suffers from it most.
"""

import dataclasses
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
from datetime import date
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vae_jax as vj
from experiments import swiss_roll
from experiments.command import run
from vae_jax.checks import check_count

BATCH_SIZE, PRODUCTS = 128, 12
"""A step has 12 products [128, W] x [W, W]: 4 layers, each forward, to the data, to the weights.
The layers with two or four inputs or outputs are left out: 1 % at W = 256, 8 % at W = 32."""
EAGER_GOALS, PRODUCT_GOALS, PROCESS_GOAL = {32: "13", 256: "4", 1024: "2.7"}, {256: "0.8"}, "0.6"
"""On two CPU cores: train_scan's speed over PyTorch's and over that of the products, at least;
the time of the whole process over that of the notebook's, at most."""
SPEEDS = ("PyTorch eager", "torch.compile", "train_step", "train_scan")
KINDS = {"a @ w": (1, 0), "g @ w.T": (1, 1), "a.T @ g": (0, 0)}
"""The products, each with the axes that it contracts."""
HAS_TORCH = importlib.util.find_spec("torch") is not None

Contestant = Callable[[], int]
"""Does the work of some training steps and returns how many."""
Samples = dict[str, list[float]]
"""For each contestant one number for each repeat."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    widths: tuple[int, ...] = (32, 256, 1024)
    """Hidden widths of the networks."""
    repeats: int = 9
    """Turns that every contestant gets."""
    process: bool = False
    """Time whole processes, training and figures, instead of the training loop."""
    sweep: bool = False
    """Time sweeps of many replicas; see `sweep_benchmark`, which has flags of its own."""


def scan_steps(width: int) -> int:
    """Steps of one call of train_scan: the notebook's 1000, fewer for wide networks."""
    return min(1000, max(20, 2**26 // width**2))


def product(width: int, lhs: int, rhs: int) -> Contestant:
    """A loop over one float32 product, contracting the axis `lhs` with the axis `rhs`.

    A step is `PRODUCTS` of them. The barrier makes each wait for the one before, or the compiler
    would take it out of the loop.
    """
    rng_left, rng_right = jax.random.split(jax.random.key(0))
    left = jax.random.normal(rng_left, (BATCH_SIZE, width))
    right = jax.random.normal(rng_right, (BATCH_SIZE if lhs == 0 else width, width))
    steps = scan_steps(width)

    def body(_: int, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, right, _ = jax.lax.optimization_barrier(carry)
        return left, right, jax.lax.dot_general(left, right, (((lhs,), (rhs,)), ((), ())))

    out = jnp.zeros((width if lhs == 0 else BATCH_SIZE, width))
    loop = jax.jit(lambda *carry: jax.lax.fori_loop(0, PRODUCTS * steps, body, carry)[2])

    def products() -> int:
        jax.block_until_ready(loop(left, right, out))
        return steps

    return products


def jax_contestants(width: int) -> tuple[dict[str, Contestant], float]:
    """train_scan, train_step called from Python, the products; and train_scan's compile time."""
    vae, loss_fn, beta = swiss_roll.build(swiss_roll.Settings(hidden_dim=width))
    rng, batch_fn = jax.random.key(0), jax.jit(vj.swiss_roll_batches(BATCH_SIZE))
    start = vj.init_train_state(rng, vae.init, loss_fn, optax.adam(1e-3))
    options = {"batch_fn": batch_fn, "num_steps": scan_steps(width)}
    began = time.perf_counter()
    scan = vj.train_scan.lower(start, rng, None, beta, **options).compile()
    compile_seconds = time.perf_counter() - began

    def scanned() -> int:
        return int(scan(start, rng, None, beta)[0].step)

    def stepwise() -> int:
        state = start
        for index in range(50):
            x = batch_fn(None, rng, index)
            state, _ = vj.train_step(state, jax.random.fold_in(rng, index), x, beta)
        return int(state.step)

    products = {kind: product(width, *axes) for kind, axes in KINDS.items()}
    return {"train_scan": scanned, "train_step": stepwise} | products, compile_seconds


def torch_contestants(width: int) -> dict[str, Contestant]:
    """PyTorch's training step, eager and, where that works, compiled."""
    import torch

    from experiments import torch_notebook

    torch.compiler.reset()
    found: dict[str, Contestant] = {}
    for name, compiled in (("PyTorch eager", False), ("torch.compile", True)):
        step = torch_notebook.make(width, compiled)

        def steps(step: torch_notebook.Step = step) -> int:
            for _ in range(10):
                loss, _, _ = step()
            loss.item()
            return 10

        try:
            steps()
            found[name] = steps
        except RuntimeError as error:  # without a C++ compiler
            print(f"{name} does not work here: {str(error).splitlines()[0]}\n")
    return found


def measure(contestants: dict[str, Contestant], repeats: int) -> Samples:
    """Steps per second of every contestant in every repeat of 0.3 s, after a warm-up."""
    steps = {name: call() for name, call in contestants.items()}
    calls = {n: max(1, round(0.3 * rate(c, 3) / steps[n])) for n, c in contestants.items()}
    rounds = [{n: rate(call, calls[n]) for n, call in contestants.items()} for _ in range(repeats)]
    return {name: [each[name] for each in rounds] for name in contestants}


def rate(contestant: Contestant, calls: int) -> float:
    """Steps per second over this many calls."""
    began = time.perf_counter()
    steps = sum(contestant() for _ in range(calls))
    return steps / (time.perf_counter() - began)


def ratio(rates: Samples, above: str, below: str) -> str:
    """Median of the ratios within a repeat, and their quartiles; a dash if one was not measured."""
    if not {above, below} <= rates.keys():
        return "–"
    low, middle, high = np.quantile(np.divide(rates[above], rates[below]), [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def median(rates: Samples, name: str, unit: float = 1.0, digits: int = 0) -> str:
    """The median of one contestant in this unit; a dash if it was not measured."""
    return f"{unit * statistics.median(rates[name]):,.{digits}f}" if name in rates else "–"


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A markdown table under a title."""
    lines = [header, ["--:"] * len(header), *rows]
    return "\n".join([title, "", *(f"| {' | '.join(cells)} |" for cells in lines)])


def speed_row(rates: Samples, width: int, compile_seconds: float) -> list[str]:
    """Steps per second and ratios of one width, in the order of `loops`."""
    cells = [median(rates, name) for name in SPEEDS]
    cells += [ratio(rates, "train_scan", "PyTorch eager"), EAGER_GOALS.get(width, "–")]
    cells += [ratio(rates, "train_scan", "torch.compile"), f"{compile_seconds:.1f}"]
    return [str(width), *cells]


def product_row(rates: Samples, width: int) -> list[str]:
    """train_scan's floating-point rate against that of the bare products, of one width."""
    steps = zip(*(rates[kind] for kind in KINDS), strict=True)
    rates = rates | {"mix": [statistics.harmonic_mean(each) for each in steps]}
    unit = PRODUCTS * 2 * BATCH_SIZE * width**2 / 1e9
    cells = [median(rates, name, unit) for name in ("train_scan", *KINDS)]
    cells += [ratio(rates, "train_scan", "a @ w"), PRODUCT_GOALS.get(width, "–")]
    return [str(width), *cells, ratio(rates, "train_scan", "mix")]


def loops(settings: Settings) -> str:
    """The two tables about the training loop."""
    speeds, products = [], []
    for width in settings.widths:
        contestants, compile_seconds = jax_contestants(width)
        if HAS_TORCH:
            contestants |= torch_contestants(width)
        rates = measure(contestants, settings.repeats)
        speeds.append(speed_row(rates, width, compile_seconds))
        products.append(product_row(rates, width))
    header = ["width", *SPEEDS, "scan / eager", "goal", "scan / compile", "scan compiles in (s)"]
    text = table("Steps per second:", header, speeds)
    header = ["width", "train_scan", *KINDS, "scan / (a @ w)", "goal", "scan / mix of the three"]
    title = "GFLOP/s of the training loop, and of its products, each kind alone:"
    return f"{text}\n\n{table(title, header, products)}"


def processes(settings: Settings) -> str:
    """The table about whole processes; the first round, which fills the disk cache, is left out."""
    names = ["swiss_roll", "torch_notebook"] if HAS_TORCH else ["swiss_roll"]
    rounds = [{name: process_seconds(name) for name in names} for _ in range(settings.repeats + 1)]
    seconds = {name: [each[name] for each in rounds[1:]] for name in names}
    row = [median(seconds, name, digits=1) for name in names]
    row += [ratio(seconds, "swiss_roll", "torch_notebook"), PROCESS_GOAL]
    header = [*(f"{name} (s)" for name in names), "ratio", "goal, at most"]
    return table("Whole processes, with their figures:", header, [row])


def process_seconds(name: str) -> float:
    """Wall time of `python -m experiments.NAME --out FOLDER`, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"experiments.{name}", "--out", str(Path(folder) / "run")]
        began = time.perf_counter()
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1]
        )
        return time.perf_counter() - began


def machine() -> str:
    """Processor, versions and date."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    cpu, device = found[1] if found else platform.machine(), jax.devices()[0].device_kind
    kind = f"{cpu}, {os.cpu_count()} cores, device {device}"
    packages = ["jax", "flax", "optax", *(["torch"] if HAS_TORCH else [])]
    versions = [f"{name} {version(name)}" for name in packages]
    return ", ".join([kind, f"Python {platform.python_version()}", *versions, str(date.today())])


def main(settings: Settings) -> None:
    """Prints the tables in markdown."""
    check_count("repeats", settings.repeats)
    if not HAS_TORCH:
        print("PyTorch is not installed (pip install 'vae-jax[bench]'): jax's numbers alone.\n")
    if settings.sweep:
        from experiments import sweep_benchmark

        return sweep_benchmark.main(sweep_benchmark.Settings(repeats=settings.repeats))
    text = processes(settings) if settings.process else loops(settings)
    print(f"{text}\n\nMedians of {settings.repeats} repeats (quartiles). {machine()}")


if __name__ == "__main__":
    run(main, Settings)
