"""Columns at mean 0 and standard deviation 1, and back to the user's units."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from vae_jax.checks import check_number

Rows = TypeVar("Rows", np.ndarray[Any, Any], jax.Array)

BLOCK = 2**16
"""Rows looked at together, so that a memory map is never copied as a whole."""


class Standardization(NamedTuple):
    """mean and std of D columns in the user's units, and the columns' names.

    Learn it from the training rows alone (`learn_standardization`): statistics of the test rows
    would leak into training. Keep `to_json()` with the model, as one of `fit`'s settings, and
    samples can be brought back.
    A column that is constant has std 1 here: it becomes 0, and 0 becomes the constant again.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    names: tuple[str, ...]

    def apply(self, rows: Rows) -> Rows:
        """(rows - mean) / std: [..., D] -> [..., D], float32; pure, for numpy and within jit.

        numpy rows are computed in float64, so a large mean does not take the digits of a small std.
        """
        mean, std = self._like(rows)
        moved: Rows = ((rows - mean) / std).astype("float32")
        return moved

    def invert(self, rows: Rows) -> Rows:
        """rows * std + mean: [..., D] -> [..., D], float32, in the user's units."""
        mean, std = self._like(rows)
        moved: Rows = (rows * std + mean).astype("float32")
        return moved

    def _like(self, rows: Any) -> Any:
        """mean and std as arrays that fit `rows`."""
        if rows.ndim < 1 or rows.shape[-1] != len(self.mean):
            raise ValueError(
                f"The rows have shape {list(rows.shape)}, the standardization was learned on "
                f"{len(self.mean)} columns."
            )
        wide = np.float32 if isinstance(rows, jax.Array) else np.float64
        return np.asarray(self.mean, wide), np.asarray(self.std, wide)

    def to_json(self) -> dict[str, Any]:
        """A dict of lists that JSON can hold; `from_json` gives back the same bits."""
        return {name: list(values) for name, values in self._asdict().items()}

    @staticmethod
    def from_json(content: object) -> "Standardization":
        """What `to_json` made.

        Raises:
            ValueError, TypeError: it is not that, or a std is not above 0.
        """
        if not isinstance(content, Mapping) or set(content) != set(Standardization._fields):
            raise ValueError(f"A standardization holds mean, std and names, got {content!r}.")
        if not all(isinstance(values, list | tuple) for values in content.values()):
            raise TypeError(f"mean, std and names must be lists, got {content!r}.")
        mean = tuple(check_number("each mean", value) for value in content["mean"])
        std = tuple(check_number("each std", value) for value in content["std"])
        names = tuple(content["names"])
        if not len(mean) == len(std) == len(names) or not all(value > 0 for value in std):
            raise ValueError("A standardization needs one mean, one std above 0 and one name each.")
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"names must be texts, got {names!r}.")
        return Standardization(mean, std, names)


def learn_standardization(
    rows: np.ndarray[Any, Any] | jax.Array | Iterable[np.ndarray[Any, Any]],
    names: Sequence[str] | None = None,
) -> Standardization:
    """Mean and std of rows [N, D], or of an iterable of such blocks; the variance is over N.

    Blocks are merged in float64,

        M2 = M2_a + M2_b + (mean_b - mean_a)^2 n_a n_b / (n_a + n_b),

    which loses no digits where the mean is large, as E[x^2] - E[x]^2 would. A std below the spacing
    of float32 numbers around the mean counts as none.

    Raises:
        TypeError, ValueError: no rows, not [N, D], not numbers, not finite, or as many names as
            columns are not given.

    Source: Chan, Golub and LeVeque, Updating formulae, COMPSTAT 1982.
    """
    count = 0
    mean: Any = np.zeros(())
    spread: Any = np.zeros(())
    for block in _blocks(rows):
        if count and block.shape[1:] != mean.shape:
            raise ValueError(f"Blocks have {mean.shape[0]} and {block.shape[1]} columns.")
        block_mean = block.mean(axis=0)
        total, apart = count + len(block), block_mean - mean
        spread = spread + np.square(block - block_mean).sum(axis=0)
        spread = spread + np.square(apart) * (count * len(block) / total)
        mean, count = mean + apart * (len(block) / total), total
    if not count:
        raise ValueError("There are no rows to learn a standardization from.")
    names = tuple(f"x{place}" for place in range(len(mean))) if names is None else tuple(names)
    if len(names) != len(mean):
        raise ValueError(f"{len(names)} names were given for {len(mean)} columns.")
    std = np.sqrt(spread / count)
    std = np.where(std > np.spacing(np.abs(mean).astype(np.float32)), std, 1.0)
    return Standardization(tuple(mean.tolist()), tuple(std.tolist()), names)


def _blocks(rows: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The rows in float64, some at a time."""
    whole = isinstance(rows, np.ndarray | jax.Array)
    for part in [rows] if whole else rows:
        part = np.asanyarray(part)
        if part.ndim != 2 or part.dtype.kind not in "fiub":
            raise ValueError(f"Rows must be numbers [N, D], got {part.dtype}{list(part.shape)}.")
        for start in range(0, len(part), BLOCK):
            block = np.asarray(part[start : start + BLOCK], np.float64)
            if not np.isfinite(block).all():
                raise ValueError("The rows hold NaN or infinite values; remove or fill them.")
            yield block
