"""The files of a run while it trains, written by a thread of their own.

What fails (a full disk, a folder that is gone) is said once and tried again at the next chunk's
end, while training goes on: only an end that cannot be saved is an error.
"""

import hashlib
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import run_folder
from vae_jax.checkpoint import host_arrays
from vae_jax.metrics_file import METRICS, METRICS_SUM, Series, append_text, rows_text
from vae_jax.run_folder import CHECKPOINT, CONFIG
from vae_jax.snapshots import Arrays, keep_arrays
from vae_jax.train import TrainState

SAVE_SECONDS = 10.0
"""A checkpoint is written at the first chunk's end after this time, or after fifty times what
writing took, and always at the end."""

RETRY_SECONDS = 1.0
TRIES = 3
"""At the end of a run a save that fails is tried this often, `RETRY_SECONDS` apart."""


class NotSaved(OSError):
    """The end of a run could not be saved. `state` is its state: nothing is lost that the caller
    saves elsewhere (`vae_jax.checkpoint.save_tree`)."""

    def __init__(self, text: str, state: TrainState) -> None:
        super().__init__(text)
        self.state = state


def saved_part(state: TrainState) -> dict[str, Any]:
    """The tree that a checkpoint holds."""
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}


class Keeper:
    """Writes metrics.csv chunk by chunk, and checkpoints when they are due.

    One job is under way at a time: what comes meanwhile waits for the next one. A checkpoint is
    written after the rows of metrics.csv that lead to it, so a reader finds at least those.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], history: list[Series]) -> None:
        """`history` are the metrics that metrics.csv holds, of all steps so far."""
        self.folder, self._config = folder, config
        self._parts = list(history)  # one for each chunk, in order; the thread only reads
        self._written = len(history)  # of them, in the file
        self._rows = sum(_length(part) for part in history)
        before = (folder / METRICS).read_bytes() if history else b""
        self._size, self._digest = len(before), hashlib.sha256(before)
        self.saved_step: int | None = self._rows if history else None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vae_jax keeper")
        self._job: Future[None] | None = None
        self._saved, self._pause = time.monotonic(), SAVE_SECONDS
        self._notes: list[str] = []
        self._said: set[str] = set()

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, *error: object) -> None:
        """Writes the rows that are left, if it can, and waits until nothing is being written."""
        self._submit(None, 0)
        self._pool.shutdown()

    def add(self, metrics: Series, state: TrainState) -> None:
        """Keeps the metrics of one more chunk, and the state after it where one is due.

        Raises:
            Exception: what the thread met and is no OSError.
        """
        self._parts.append(metrics)
        if not self._idle():
            return
        due = time.monotonic() - self._saved > self._pause
        # The copy to the host is made here: what is on a device may not be there for long.
        arrays = host_arrays(saved_part(state)) if due else None
        self._job = self._submit(arrays, int(state.step))

    def finish(self, state: TrainState) -> None:
        """Writes everything, and the state as a checkpoint, and waits until it is on the disk.

        Raises:
            NotSaved: it could not be written.
        """
        step = int(state.step)
        for left in reversed(range(TRIES)):
            if self._job is not None:
                self._job.exception()  # waits
                self._idle()
            if step == 0 or (self.saved_step == step and self._written == len(self._parts)):
                return
            self._job = self._submit(host_arrays(saved_part(state)), step)
            error = self._job.exception()
            if isinstance(error, OSError) and left:
                time.sleep(RETRY_SECONDS)
            elif isinstance(error, OSError):
                raise NotSaved(self._lost(step, error), state) from error
            elif error is not None:
                raise error

    def _submit(self, arrays: Arrays | None, step: int) -> Future[None]:
        """The thread's next job: the rows up to now, though more may come before it begins, and
        with them `arrays`, whose checksum is of these rows."""
        return self._pool.submit(self._write, arrays, step, len(self._parts))

    def _idle(self) -> bool:
        """Whether no job is under way; says what went wrong in the last one."""
        if self._job is None:
            return True
        if not self._job.done():
            return False
        error = self._job.exception()
        self._job = None
        for note in self._notes:
            self._warn(note)
        if isinstance(error, OSError):
            self._saved, self._pause = time.monotonic(), min(RETRY_SECONDS, SAVE_SECONDS)
            self._warn(f"Could not write to {self.folder}: {error}. Training goes on, and this is "
                       f"tried again.")  # fmt: skip
        elif error is not None:
            raise error
        return True

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _lost(self, step: int, error: OSError) -> str:
        kept = "There is no checkpoint there yet."
        if self.saved_step is not None:
            kept = f"The last good checkpoint there is that of step {self.saved_step}."
        return (
            f"The state after step {step} could not be saved in {self.folder}: {error}. "
            f"{kept} The state is this error's attribute `state`."
        )

    def _write(self, arrays: Arrays | None, step: int, count: int) -> None:
        """In the thread: the rows that metrics.csv lacks, then the checkpoint."""
        began = time.monotonic()
        parts = self._parts[:count]
        path = self.folder / METRICS
        if self._written and _size(path) < self._size:  # removed or cut: what was there is known
            self._written = self._rows = self._size = 0
            self._digest = hashlib.sha256()
            self._notes.append(f"{path} was removed or cut during the run; it is written anew.")
        fresh = parts[self._written :]
        text = "".join(_texts(self._rows + 1, fresh))
        self._size = append_text(path, self._size, text, flush=arrays is not None)
        self._digest.update(text.encode())
        self._written = len(parts)
        self._rows += sum(_length(part) for part in fresh)
        if arrays is None:
            return
        if not (self.folder / CONFIG).is_file():
            run_folder.save_config(self.folder, self._config)
            self._notes.append(f"{self.folder / CONFIG} was removed during the run; written anew.")
        checksum = np.frombuffer(self._digest.digest(), np.uint8)
        keep_arrays(self.folder / CHECKPOINT, arrays | {METRICS_SUM: checksum})
        self.saved_step = step
        self._saved = time.monotonic()
        self._pause = max(SAVE_SECONDS, 50 * (self._saved - began)) if SAVE_SECONDS > 0 else -1.0


def _length(metrics: Series) -> int:
    return len(metrics["loss"])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _texts(first: int, parts: list[Series]) -> list[str]:
    texts = []
    for part in parts:
        texts.append(rows_text(first, part))
        first += _length(part)
    return texts
