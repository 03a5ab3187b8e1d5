"""Speed of sweeps: many VAEs in one program against PyTorch one after another, and its limits.

All contestants take their turn in each repeat; speeds are model-steps per second, medians over the
repeats, ratios medians of the ratios within a repeat. Contestants with another number of devices
are processes of their own, of which only one works at a time. Nothing else should run meanwhile.
"""

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.benchmark import HAS_TORCH, machine, median, ratio, table
from experiments.command import run
from vae_jax.checks import check_count
from vae_jax.devices import num_cores, use_all_cores

Samples = dict[str, list[float]]
SPEED_CASES = {32: 64, 256: 16}
"""Width -> replicas of the speed table."""
GOALS = {"torch": {32: "45", 256: "4.5"}, "scan": {32: "3"}, "product": {256: "0.85"}}
TWO_DEVICES_GOAL, FLAT_GOAL = "1.8", "1.2"
WARM_SECONDS = 0.3


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    widths: tuple[int, ...] = (32, 256)
    """Hidden widths of the speed table."""
    counts: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    """Numbers of replicas of the cost table, at width 32."""
    compile_steps: tuple[int, ...] = (10, 100, 1000)
    """Numbers of steps of the compile table."""
    repeats: int = 9
    """Turns that every contestant gets."""
    seconds: float = WARM_SECONDS
    """Length of a turn, about."""
    torch: bool = HAS_TORCH
    """Measure PyTorch, too."""
    out: Path = Path("results/sweep_benchmark")
    """Folder of sweep_cost.png and numbers.json."""


class Worker:
    """A process with a number of devices that makes contestants and lets them take turns."""

    def __init__(self, devices: int) -> None:
        command = [sys.executable, "-m", "experiments.sweep_contestants", str(devices)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip

    def ask(self, *words: Any) -> Any:
        """The answer to a question; see `sweep_contestants`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(words), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise OSError(f"A process of the benchmark ended while asked for {words}; see above.")
        return json.loads(answer)


@contextlib.contextmanager
def workers(*devices: int) -> Iterator[dict[int, Worker]]:
    """Processes with these numbers of devices, ended afterwards."""
    started = {count: Worker(count) for count in devices}
    try:
        yield started
    finally:
        for worker in started.values():
            worker.process.kill()
            worker.process.communicate()


def turns(settings: Settings, asked: dict[str, tuple[Worker, tuple[Any, ...]]]) -> Samples:
    """The rates of all contestants in every repeat, after one turn each that is not counted."""
    rates: Samples = {name: [] for name in asked}
    for repeat in range(settings.repeats + 1):
        for name, (worker, words) in asked.items():
            found = worker.ask("rate", settings.seconds, *words)
            if repeat:
                rates[name].append(found)
    return rates


def speeds(settings: Settings, started: dict[int, Worker], most: int) -> tuple[str, Any]:
    """The table of model-steps per second, and the numbers behind it."""
    lines, numbers = [], {}
    for width in settings.widths:
        count = SPEED_CASES.get(width, 16)
        one, all_cores = started[1], started[most]
        asked = {
            "sweep": (all_cores, ("sweep", width, count)),
            "one device": (one, ("sweep", width, count)),
            "scan": (one, ("scan", width)),
            "products": (all_cores, ("products", width, count)),
        }
        if settings.torch:
            asked["torch"] = (one, ("torch", width))
        rates = numbers[str(width)] = turns(settings, asked)
        cells = [median(rates, name) for name in ("torch", "scan", "one device", "sweep")]
        for below, goals in (("torch", "torch"), ("scan", "scan"), ("products", "product")):
            cells += [ratio(rates, "sweep", below), GOALS[goals].get(width, "–")]
        cells += [ratio(rates, "sweep", "one device"), TWO_DEVICES_GOAL if most == 2 else "–"]
        lines.append([str(width), str(count), *cells])
    header = ["width", "replicas", "PyTorch eager", "train_scan", "sweep, 1 device",
              f"sweep, {most} devices", "/ PyTorch", "goal", "/ train_scan", "goal", "/ products",
              "goal", "/ 1 device", "goal"]  # fmt: skip
    return table("Model-steps per second:", header, lines), numbers


def costs(settings: Settings, worker: Worker) -> tuple[str, Any]:
    """The table of cost and memory against the number of replicas, at width 32."""
    rates = turns(settings, {str(n): (worker, ("sweep", 32, n)) for n in settings.counts})
    micros = {n: 1e6 / statistics.median(rates[str(n)]) for n in settings.counts}
    space = {n: worker.ask("memory", 32, n) for n in settings.counts}
    least = min(micros.values())
    lines = [
        [str(n), f"{micros[n]:.2f}", f"{micros[n] / least:.2f}", FLAT_GOAL,
         f"{space[n] / 2**20:.2f}", f"{space[n] / n / 2**10:.1f}"]
        for n in settings.counts
    ]  # fmt: skip
    header = ["replicas", "microseconds / model-step", "of the least", "goal, at most",
              "memory (MiB)", "KiB / replica"]  # fmt: skip
    numbers = {"micros": micros, "bytes": space, "rates": rates}
    return table("Cost of a replica at width 32, all cores:", header, lines), numbers


def compiling(settings: Settings, worker: Worker) -> tuple[str, Any]:
    """The table of compile times, each the median over the repeats."""
    few, many = min(settings.counts), max(settings.counts)
    cases = [(few, s) for s in settings.compile_steps] + [(many, settings.compile_steps[-1])]
    repeats = range(min(5, settings.repeats))
    found = [[worker.ask("compile", 32, *case) for case in cases] for _ in repeats]
    middle = [statistics.median(column) for column in zip(*found, strict=True)]
    lines = [[str(n), str(s), f"{t:.2f}"] for (n, s), t in zip(cases, middle, strict=True)]
    text = table("Compile time at width 32:", ["replicas", "steps", "seconds"], lines)
    return text, {f"{n}x{s}": t for (n, s), t in zip(cases, middle, strict=True)}


def draw(numbers: Any, path: Path) -> None:
    """sweep_cost.png: cost of a model-step and memory against the number of replicas."""
    from matplotlib.figure import Figure

    from experiments.figures import BLUE, ORANGE, save

    figure = Figure(figsize=(8, 3.6))
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(0.09, 0.16, 0.98, 0.88, 0.26)
    counts = list(numbers["micros"])
    left.plot(counts, list(numbers["micros"].values()), color=BLUE, marker="o", ms=4)
    left.set(ylabel="microseconds", title="Cost of one model-step")
    left.set_ylim(0, 1.15 * max(numbers["micros"].values()))
    right.plot(
        counts, [b / 2**20 for b in numbers["bytes"].values()], color=ORANGE, marker="o", ms=4
    )
    right.set(ylabel="MiB", title="Memory, by the compiler's account", yscale="log")
    for axes in (left, right):
        axes.set(xlabel="replicas (width 32)")
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.grid(alpha=0.25)
    save(figure, path)


def main(settings: Settings) -> None:
    """Prints the tables in markdown; writes sweep_cost.png and numbers.json."""
    for name in ("widths", "counts", "compile_steps"):
        for value in getattr(settings, name):
            check_count(name, value)
    check_count("repeats", settings.repeats)
    if settings.torch and not HAS_TORCH:
        raise ValueError("PyTorch is not installed: pip install 'vae-jax[bench]', or --no-torch.")
    most = max(2, num_cores())
    with workers(1, most) as started:
        texts = [speeds(settings, started, most), costs(settings, started[most])]
        texts.append(compiling(settings, started[most]))
    numbers = dict(zip(("speeds", "costs", "compiling"), (n for _, n in texts), strict=True))
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "numbers.json").write_text(json.dumps(numbers, indent=1))
    draw(numbers["costs"], settings.out / "sweep_cost.png")
    tables = "\n\n".join(text for text, _ in texts)
    use_all_cores()
    print(f"{tables}\n\nMedians of {settings.repeats} repeats (quartiles). {machine()}")
    print(f"figure and numbers: {settings.out}")


if __name__ == "__main__":
    run(main, Settings)
