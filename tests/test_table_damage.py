"""Data files that are damaged, or made to be: refused by name, and nothing else happens.

Every reader may raise an OSError or a ValueError with the path in it. Run with `-m slow` for many
examples; by default there are few.
"""

import contextlib
import gzip
import io
import struct
import sys
import warnings
import zipfile

import numpy as np
import pytest
from helpers import contents
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vae_jax.data import load_table, read_idx
from vae_jax.data.shards import open_shards

FEW, MANY = 60, 20_000
SUFFIXES = (".npy", ".npz", ".csv", ".parquet", "-idx", "-shard.npy")


def settings_of(num):
    """Examples that are the same in every run, without a database on the disk."""
    return settings(
        max_examples=num,
        derandomize=num == FEW,
        database=None,
        deadline=5000,
        suppress_health_check=list(HealthCheck),
    )


def reader(suffix):
    if suffix == "-idx":
        return read_idx
    return open_shards if suffix == "-shard.npy" else load_table


def sound(suffix):
    """A small file of this kind, of which damaged ones are made."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    file = io.BytesIO()
    if suffix.endswith(".npy"):
        np.save(file, rows)
    elif suffix == ".npz":
        np.savez_compressed(file, rows)
    elif suffix == ".csv":
        file.write(b'a,"b",c\n1,2,3\n4.5,-1e3,nan\n')
    elif suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), file)
    else:
        file.write(struct.pack(">BBBB2I", 0, 0, 13, 2, 4, 3) + rows.astype(">f4").tobytes())
    return file.getvalue()


def attempt(folder, suffix, content):
    """Whether the file was read; an error of another kind, or a trace on the disk, fails."""
    path, refusal = folder / f"t{suffix}", None
    path.write_bytes(content)
    try:
        reader(suffix)(path)
    except (OSError, ValueError) as error:
        refusal = str(error)
    assert contents(folder) == {path.name: content}
    assert refusal is None or str(path) in refusal
    return refusal is None


@st.composite
def damaged(draw, suffix):
    """A sound file with some bytes changed, left out, put in twice, or cut off."""
    content = bytearray(sound(suffix))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["byte", "flip", "cut", "drop", "repeat", "number", "insert"])):
            case "byte" if content:
                content[place] = draw(st.integers(0, 255))
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[place:]
            case "drop":
                del content[place : place + draw(st.integers(1, 40))]
            case "repeat":
                content[place:place] = content[place : place + 20] * draw(st.integers(1, 50))
            case "number":
                number = draw(st.sampled_from([0, -1, 2**31 - 1, 2**63 - 1, -(2**63)]))
                content[place : place + 8] = struct.pack(draw(st.sampled_from("<>")) + "q", number)
            case "insert":
                content[place:place] = draw(st.binary(max_size=30))
    return bytes(content)


def try_damaged(folder, suffix, num):
    @settings_of(num)
    @given(damaged(suffix))
    def check(content):
        attempt(folder, suffix, content)

    check()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, suffix):
    """A few examples of each kind; the sound file is read."""
    if suffix != ".csv":  # which holds a NaN, to be among what is damaged
        assert attempt(tmp_path, suffix, sound(suffix))
    try_damaged(tmp_path, suffix, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_damaged_files_are_read_or_refused_by_name(tmp_path, suffix):
    """The same with other examples in every run."""
    try_damaged(tmp_path, suffix, MANY)


HEADER_TYPES = [
    "'<f4'",
    "'|O'",
    "'<U3'",
    "'>i8'",
    "[('a', '<f4')]",
    "3",
    "'<f4', (2,)",
    "None",
    "''",
]
HEADER_SIZES = ["()", "(3,)", "(-1, 3)", "(3, 3)", "(2**70, 1)", "(10**30,)", "(True,)", "3", "'3'"]


@st.composite
def npy_files(draw):
    """Headers that .npy should not have, of a right or wrong length, before some bytes."""
    text = st.text(st.sampled_from("{}()[]'\",:- 0123456789abefstO<>|\\\n\0"), max_size=60)
    header = draw(
        st.one_of(
            text,
            st.builds(
                "{{'descr': {}, 'fortran_order': {}, 'shape': {}}}".format,
                st.sampled_from(HEADER_TYPES),
                st.sampled_from(["True", "False", "1", "None"]),
                st.sampled_from(HEADER_SIZES),
            ),
            st.integers(1, 3000).map(lambda depth: "(" * depth),
            st.integers(1, 3000).map(lambda depth: "-" * depth + "1"),
        )
    ).encode()
    version = draw(st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\0\0"]))
    length = len(header) + draw(st.sampled_from([0, 0, 0, 1, -1, 60_000]))
    size = struct.pack("<H" if version == b"\1\0" else "<I", max(0, length))
    return b"\x93NUMPY" + version + size + header + draw(st.binary(max_size=64))


def try_npy(folder, num):
    @settings_of(num)
    @given(npy_files(), st.sampled_from([".npy", "-shard.npy"]))
    def check(content, suffix):
        for path in folder.iterdir():
            path.unlink()
        attempt(folder, suffix, content)

    check()


def test_headers_of_npy_that_are_none(tmp_path):
    """Wrong types, shapes and lengths, deep nesting: refused by name."""
    try_npy(tmp_path, FEW)


@pytest.mark.slow
def test_many_headers_of_npy_that_are_none(tmp_path):
    """The same with other examples in every run."""
    try_npy(tmp_path, MANY)


FIELDS = st.sampled_from(
    [
        "1",
        "-2.5",
        "1e400",
        "nan",
        "inf",
        "",
        " ",
        "x",
        '"',
        '""',
        '"1"',
        "1_0",
        "0x1",
        "\0",
        "é",
        "\r",
    ]
)


def try_csv(folder, num):
    @settings_of(num)
    @given(
        st.lists(st.lists(FIELDS, max_size=4), max_size=5), st.sampled_from(["\n", "\r\n", "\r"])
    )
    @example([["1", "2"], ["3"]], "\n")
    def check(lines, end):
        text = end.join(",".join(fields) for fields in lines)
        attempt(folder, ".csv", text.encode())

    check()


def test_lines_of_csv_that_are_none(tmp_path):
    """Quotes, empty and missing fields, other letters, line ends: read or refused by name."""
    try_csv(tmp_path, FEW)


@pytest.mark.slow
def test_many_lines_of_csv_that_are_none(tmp_path):
    """The same with other examples in every run."""
    try_csv(tmp_path, MANY)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, width=32).map(repr), st.integers(-99, 99).map(str), st.just("  7 ")
)


@settings_of(FEW)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6))
def test_both_csv_readers_agree(tmp_path_factory, lines):
    """What numpy's reader takes, the exact one reads to the same numbers."""
    from vae_jax.data import csv_files

    path = tmp_path_factory.getbasetemp() / "both.csv"
    path.write_text("\n".join(map(",".join, lines)))
    arguments = (False, csv_files.CsvOptions())
    exact = csv_files._read_exactly(path, ("x0", "x1"), (0, 1), *arguments)
    np.testing.assert_array_equal(csv_files._read_fast(path, 2, (0, 1), *arguments), exact)


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_pickle_in_an_array_is_not_run(tmp_path, suffix):
    """An object array whose unpickling writes a file is refused, and there is no file."""
    array, path = np.array([Trap(tmp_path / "trap")]), tmp_path / f"t{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, array)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds Python objects"):
        load_table(path)
    assert contents(tmp_path) == before


def zip_of(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # the same name twice
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def test_archives_that_claim_too_much(tmp_path):
    """A member that says 8 EB, one twice, one outside the folder: refused, and no file appears."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976, 1), }"
    giant = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    for members in (
        [("a.npy", giant)],
        [("a.npy", b"")],
        [("a.npy", b"x"), ("a.npy", b"y")],
        [("../../outside.npy", b"x")],
        [],
    ):
        assert not attempt(tmp_path, ".npz", zip_of(members))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert attempt(tmp_path, ".npz", zip_of([("a.npy", sound(".npy"))], method))


def test_a_packed_idx_file_costs_no_more_memory_than_it_holds(tmp_path):
    """A header that claims 2^67 bytes before 4 is refused at once; so is one with more."""
    head = struct.pack(">BBBB4I", 0, 0, 14, 4, *[2**32 - 1] * 2, 1, 1)
    for content in (head + b"1234", struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(10**7)):
        for packed in (content, gzip.compress(content), gzip.compress(content)[:-5]):
            assert not attempt(tmp_path, "-idx", packed)


def test_a_wide_csv_does_not_take_long(tmp_path):
    """20,000 columns, and one field of a million letters: read or refused within seconds."""
    names = ",".join(f"c{place}" for place in range(20_000))
    assert attempt(tmp_path, ".csv", f"{names}\n{','.join(['1'] * 20_000)}\n".encode())
    assert not attempt(tmp_path, ".csv", b'a\n"' + b"x" * 10**6)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a FIFO")
def test_a_pipe_is_not_waited_for(tmp_path):
    """Opening one would block until somebody writes into it."""
    import os

    for suffix in SUFFIXES:
        path = tmp_path / f"t{suffix}"
        os.mkfifo(path)
        with pytest.raises(ValueError, match="regular file"):
            reader(suffix)(path)


def test_a_folder_in_place_of_a_file(tmp_path):
    """A folder called like a table has no tables in it."""
    (tmp_path / "t.npy").mkdir()
    for suffix in (".npy", "-idx"):
        path = tmp_path / "t.npy"
        with pytest.raises((FileNotFoundError, ValueError), match=r"t\.npy"):
            reader(suffix)(path)
    with contextlib.suppress(FileNotFoundError):
        load_table(tmp_path)
