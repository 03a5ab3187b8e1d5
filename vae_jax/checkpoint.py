"""A pytree to disk and back: arrays as safetensors, the rest as JSON, nothing that can execute.

Every file is written under a temporary name, flushed to the disk and then renamed, so a reader
sees the old file or the new one and never half of either.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

CHECKSUM = "sha256"
"""The name under which a file keeps the checksum of its other arrays."""


def save_tree(path: Path, tree: Any) -> None:
    """Writes the arrays of `tree` to `path`, named after their place in it, with their checksum.

    Raises:
        OSError: the file cannot be written; what was at `path` is untouched.
    """
    write_atomic(path, encode(host_arrays(tree)))


def host_arrays(tree: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `tree` on the host, named after their place in it; keys as their numbers.

    On a CPU these may be the tree's own memory: whoever changes that in place must copy first.
    """
    return {name: _to_numpy(leaf) for name, leaf in _named_leaves(tree).items()}


def encode(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The bytes of a file that holds these arrays, with their checksum."""
    content: bytes = safetensors.numpy.save({**arrays, CHECKSUM: _checksum(arrays)})
    return content


def load_tree(path: Path, template: Any) -> Any:
    """The tree saved at `path`, with the structure, shapes and types of `template`.

    `template` may hold arrays or shapes (`jax.eval_shape`). Arrays in the file that the template
    does not name are left alone, so params can be read out of a full training state.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or does not fit the template.
    """
    found = fit_tree(path, load_arrays(path), template)
    return jax.tree.map(lambda leaf: leaf if _is_key(leaf) else jnp.asarray(leaf), found)


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that `save_tree` wrote to `path`, named after their place in the tree.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        arrays = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    checksum = arrays.pop(CHECKSUM, None)
    if checksum is None or not np.array_equal(checksum, _checksum(arrays)):
        raise ValueError(f"{path} is damaged: its content does not match its checksum.")
    return arrays


def fit_tree(path: Path, arrays: Mapping[str, Any], template: Any) -> Any:
    """The arrays, which `path` holds, in the structure of `template`: numpy arrays and keys.

    Raises:
        ValueError: they do not fit the template.
    """
    names = _named_leaves(template)
    leaves = [_restore(path, n, arrays.get(n), leaf) for n, leaf in names.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays to `path` as .npz, atomically; read it with numpy.load."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: expected a JSON object, got {type(content).__name__}")
    return content


def write_atomic(path: Path, content: bytes, *, before: Callable[[], None] | None = None) -> None:
    """Replaces `path` by a file holding `content`, or leaves it as it was and raises OSError.

    `before` is called when the new file is on the disk and about to take its place.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before:
            before()
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within it an OSError has a file's name: a full disk does not say which file it was."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, where the system can open a folder (Windows cannot)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _named_leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def fingerprint(tree: Any) -> str | None:
    """SHA-256 of the arrays of `tree`, in words: of their types, shapes and bytes; None if it has
    none. It is what a run remembers of its data."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, np.ndarray | jax.Array)]
    digest = hashlib.sha256()
    for leaf in leaves:
        array = np.ascontiguousarray(_to_numpy(leaf))
        digest.update(f"{array.dtype} {array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest() if leaves else None


def _checksum(arrays: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """SHA-256 of names, types, shapes and bytes: [32], uint8."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray[Any, Any]:
    if isinstance(leaf, np.ndarray):
        return np.asarray(leaf, order="C")
    leaf = jnp.asarray(leaf)
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")


def _restore(path: Path, name: str, array: Any, leaf: Any) -> Any:
    if array is None:
        raise ValueError(f"{path} does not hold {name}: it was saved from another model.")
    key = _is_key(leaf)
    wanted = jax.eval_shape(jax.random.key_data, leaf) if key else leaf
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        raise ValueError(
            f"{path} holds {name} as {array.dtype}{list(array.shape)}, this model needs "
            f"{wanted.dtype}{list(wanted.shape)}."
        )
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if key else array
