"""Join the shards of a sweep, trained as separate jobs, into the sweep that they are parts of."""

import dataclasses
import re
from pathlib import Path

from tyro.conf import Positional

from experiments.command import run
from experiments.sweep import problem, report
from vae_jax.results import load_sweep
from vae_jax.shards import merge_shards


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    out: Positional[Path]
    """Folder of the whole sweep: what was --out of the shards. An older one is moved aside."""
    shards: Positional[tuple[Path, ...]] = ()
    """Folders of the shards; OUT.shard-i-of-n beside it if none are named."""


def find_shards(out: Path) -> list[Path]:
    """The folders OUT.shard-i-of-n beside `out`.

    Raises:
        FileNotFoundError: there are none.
    """
    form = re.compile(re.escape(out.name) + r"\.shard-\d+-of-\d+")
    found = sorted(path for path in out.parent.glob("*") if form.fullmatch(path.name))
    if not found:
        raise FileNotFoundError(f"There are no folders {out}.shard-i-of-n; name the shards.")
    return found


def main(settings: Settings) -> None:
    shards = list(settings.shards) or find_shards(settings.out)
    merge_shards(shards, settings.out)
    print(f"merged {len(shards)} shards into {settings.out}")
    report(settings.out, load_sweep(problem, settings.out))


if __name__ == "__main__":
    run(main, Settings)
