"""Tables from files: the same numbers from every format, and what does not fit said by name."""

import csv
import gzip
import io
import json
import struct
import sys
import zipfile

import jax
import numpy as np
import pytest
from helpers import run_fit

import vae_jax
from vae_jax.data import CsvOptions, Standardization, learn_standardization, load_table, read_idx

ROWS = np.array([[1.5, -2.0, 7.0], [0.1, 1e-7, 7.0], [-3e5, 0.0, 7.0], [2.0, 4.0, 7.0]])
NAMES = ("a", "b c", "d")


def write(path, rows=ROWS, names=NAMES):
    """`rows` in the format of the path's ending."""
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        np.savez_compressed(path, rows)
    elif path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = dict(zip(names, rows.T.tolist(), strict=True))
        pq.write_table(pa.table(columns), path, row_group_size=3)
    else:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([names, *rows.tolist()])
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    """float32 [N, D] equal to the rows written; names from the file, or x0, x1, ..."""
    table = load_table(write(tmp_path / f"t{suffix}"))
    np.testing.assert_array_equal(table.rows, ROWS.astype(np.float32), strict=True)
    assert table.names == (("x0", "x1", "x2") if suffix.startswith(".np") else NAMES)
    assert "[4, 3] float64" in table.report
    assert f"constant: {table.names[2]} = 7" in table.report
    assert "values -300000 to 7" in table.report


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_columns_are_chosen_by_name(tmp_path, suffix):
    """In the order asked for; one that is not there is named."""
    path = write(tmp_path / f"t{suffix}")
    names = load_table(path).names
    table = load_table(path, columns=[names[2], names[0]])
    np.testing.assert_array_equal(table.rows, ROWS[:, [2, 0]].astype(np.float32))
    assert table.names == (names[2], names[0])
    with pytest.raises(ValueError, match=f"t{suffix} has no column 'age'"):
        load_table(path, columns=["age"])


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "u1", "i8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_number_type_become_float32(tmp_path, dtype, order):
    """float32 of the same values, whatever type, byte order or memory order the file has."""
    rows = np.array([[0, 1, 1], [1, 0, 1]], dtype, order=order)
    np.save(tmp_path / "t.npy", rows)
    np.savez(tmp_path / "t.npz", rows)
    for name in ("t.npy", "t.npz"):
        table = load_table(tmp_path / name)
        np.testing.assert_array_equal(table.rows, rows.astype(np.float32), strict=True)
        assert f"[2, 3] {rows.dtype}" in table.report


def test_a_float32_file_stays_on_the_disk(tmp_path):
    """A read-only memory map, not a copy; one axis is one column."""
    np.save(tmp_path / "t.npy", ROWS.astype(np.float32))
    rows = load_table(tmp_path / "t.npy").rows
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    np.save(tmp_path / "t.npy", ROWS[:, 0])
    assert load_table(tmp_path / "t.npy").rows.shape == (4, 1)


def test_many_files_follow_one_another(tmp_path):
    """A folder and a pattern by name, a list as it is; other kinds and hidden files left out."""
    for place in range(4):
        write(tmp_path / f"part-{place}.csv", ROWS[place : place + 1])
    (tmp_path / "notes.txt").write_text("not a table")
    (tmp_path / ".hidden.csv").write_text("not a table")
    for paths in (tmp_path, str(tmp_path / "part-*.csv"), f"{tmp_path}/*"):
        np.testing.assert_array_equal(load_table(paths).rows, ROWS.astype(np.float32))
    some = [tmp_path / "part-2.csv", str(tmp_path / "part-0.csv")]
    np.testing.assert_array_equal(load_table(some).rows, ROWS[[2, 0]].astype(np.float32))
    write(tmp_path / "part-9.csv", names=("a", "b", "d"))
    with pytest.raises(ValueError, match=r"part-9.csv has other columns than .*part-0.csv"):
        load_table(tmp_path)


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ([], ValueError, "empty list"),
        (3, TypeError, "got 3"),
        ([b"x"], TypeError, "got b'x'"),
        ("", ValueError, "not a path"),
        ("no/such.csv", FileNotFoundError, "no/such.csv"),
        ("no/such/*.csv", FileNotFoundError, "no file that ends in"),
        (__file__, ValueError, "not of a kind"),
        ("/dev/null", ValueError, "neither a regular file"),
    ],
)
def test_paths_that_are_no_tables_are_refused(paths, error, message):
    """What was got, by name."""
    with pytest.raises(error, match=message):
        load_table(paths)


def test_columns_must_be_a_list(tmp_path):
    """A text would be taken apart into letters; an empty list leaves nothing."""
    for columns in ("a", []):
        with pytest.raises(ValueError, match="columns must be a list"):
            load_table(write(tmp_path / "t.csv"), columns=columns)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_values_that_are_not_finite_are_named_or_dropped(tmp_path, suffix):
    """Column, kind and first rows; with drop_bad_rows the other rows, and how many went."""
    rows = ROWS.copy()
    rows[1, 0], rows[3, 0], rows[3, 1] = np.nan, np.nan, 1e39  # more than float32 holds
    path = write(tmp_path / f"t{suffix}", rows)
    with pytest.raises(ValueError, match=r"\(NaN, 2 rows: 1, 3\), .* \(infinite, 1 rows: 3\)"):
        load_table(path)
    table = load_table(path, drop_bad_rows=True)
    np.testing.assert_array_equal(table.rows, ROWS[[0, 2]].astype(np.float32))
    assert "left out: 2 rows" in table.report


def test_rows_of_many_blocks_are_counted_from_the_start(tmp_path, monkeypatch):
    """Row numbers, range and constant columns do not depend on how many rows are read together."""
    monkeypatch.setattr("vae_jax.data.tables.BLOCK", 3)
    rows = np.tile(ROWS, (4, 1)).astype(np.float32)
    np.save(tmp_path / "t.npy", rows)
    assert "values -300000 to 7\n" in load_table(tmp_path / "t.npy").report
    rows[7, 1], rows[11, 1] = np.inf, np.nan
    np.save(tmp_path / "t.npy", rows)
    with pytest.raises(ValueError, match=r"'x1' \(infinite, 2 rows: 7, 11\)"):
        load_table(tmp_path / "t.npy")
    kept = load_table(tmp_path / "t.npy", drop_bad_rows=True).rows
    np.testing.assert_array_equal(kept, np.delete(rows, [7, 11], axis=0))


def csv_table(tmp_path, text, **options):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    return load_table(path, **options)


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("1,2\n3,4\n", ("x0", "x1"), [[1, 2], [3, 4]]),
        ("a,b\r\n1,2\r\n\r\n3,4", ("a", "b"), [[1, 2], [3, 4]]),
        ("\ufeffa,b\n1,2\n", ("a", "b"), [[1, 2]]),
        ('"a,1"," b\n"\n"1", 2\n', ("a,1", "b"), [[1, 2]]),
        ("a,,b\n1,2,3\n", ("a", "x1", "b"), [[1, 2, 3]]),
        ("-1e3\n.5\n", ("x0",), [[-1000], [0.5]]),
    ],
)
def test_csv_as_it_comes(tmp_path, text, names, rows):
    """Header or none, quotes, byte order mark, line ends, blank lines."""
    table = csv_table(tmp_path, text)
    assert table.names == names
    np.testing.assert_array_equal(table.rows, np.array(rows, np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "names but no rows"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4: 3 fields where the first line has 2"),
        ('a,b\n"1\n",2\n3\n', "line 4: 1 fields"),
        ("a,b\n1,x\n2,y\n3,4\n5,z\n6,v\n", r"'b' \(line 2 'x', line 3 'y', line 5 'z'\)\. Choose"),
        ("a,b\n1,1_000\n", "line 2 '1_000'"),
        ("a,b\n1,\u0661\n", "line 2"),
        ("1,x\n2,3\n", r"'x1' \(line 1 'x'\)"),
        ("a,a\n1,2\n", "more than one column named a"),
        ('a,b\n1,"2\n', "t.csv, line 2: unexpected end"),
        ("a,b\n1,\n", r"'b' \(NaN, 1 rows: 0\)"),
        ("a;b\n1;2\n", "line 2 '1;2'"),
    ],
)
def test_csv_that_is_not_a_table_says_where(tmp_path, text, message):
    """Line, column and content of what is wrong."""
    with pytest.raises(ValueError, match=message) as caught:
        csv_table(tmp_path, text)
    assert "t.csv" in str(caught.value)


def test_csv_options_and_missing_fields(tmp_path):
    """Other delimiters, a header of numbers, text columns left out, empty fields dropped."""
    table = csv_table(tmp_path, "0;1\n5;6\n", csv=CsvOptions(";", header=True))
    assert table.names == ("0", "1")
    np.testing.assert_array_equal(table.rows, [[5, 6]])
    text = "id,city,x\n1,Oslo,3\n2,Rome,\n3,Bern,NA\n4,Nice,5\n"
    table = csv_table(tmp_path, text, columns=["x", "id"], drop_bad_rows=True)
    np.testing.assert_array_equal(table.rows, [[3, 1], [5, 4]])


def test_an_array_of_several_is_chosen_by_key(tmp_path):
    """One array needs no key; of several, the keys are named."""
    np.savez(tmp_path / "t.npz", train=ROWS, labels=np.arange(4))
    np.testing.assert_array_equal(
        load_table(tmp_path / "t.npz", key="train").rows, ROWS.astype("f4")
    )
    for key, message in ((None, "holds train, labels: choose"), ("test", "no array 'test'")):
        with pytest.raises(ValueError, match=message):
            load_table(tmp_path / "t.npz", key=key)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([[1, None]], object), "holds Python objects"),
        (np.array([["a"]]), "type <U1"),
        (np.array([[1j]]), "type complex128"),
        (np.zeros((2, 3, 1)), r"shape \[2, 3, 1\]; a table is"),
        (np.zeros((2, 0)), "a table is"),
        (np.zeros((0, 2)), "no rows"),
        (np.zeros(3, [("a", "f4")]), "numbers are needed"),
    ],
)
def test_arrays_that_are_no_tables_are_refused(tmp_path, suffix, rows, message):
    """Objects would be pickles, which could run code: they are never loaded."""
    path = tmp_path / f"t{suffix}"
    np.save(path, rows) if suffix == ".npy" else np.savez(path, rows)
    with pytest.raises(ValueError, match=message) as caught:
        load_table(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_is_as_long_as_its_header_says(tmp_path, suffix):
    """A byte too few or too many is refused, in a file or within an archive."""
    file = io.BytesIO()
    np.save(file, ROWS)
    path = tmp_path / f"t{suffix}"
    for content in (file.getvalue()[:-1], file.getvalue() + b"\0"):
        path.write_bytes(content)
        if suffix == ".npz":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("rows.npy", content)
        with pytest.raises(ValueError, match=r"float64\[4, 3\] takes 96 bytes, the file has 9[57]"):
            load_table(path)


def test_parquet_types(tmp_path):
    """Integers, booleans, decimals and floats are numbers, missing ones NaN; text is named."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    decimals = pa.array([1.5, 2.5]).cast(pa.decimal128(5, 2))
    table = pa.table({"i": [3, None], "b": [True, False], "d": decimals, "s": ["x", "y"]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"columns 's' \(string\); 's' begins with \['x', 'y'\]"):
        load_table(tmp_path / "t.parquet")
    options = {"columns": ["i", "b", "d"], "drop_bad_rows": True}
    np.testing.assert_array_equal(load_table(tmp_path / "t.parquet", **options).rows, [[3, 1, 1.5]])
    with pytest.raises(ValueError, match=r"'i' \(NaN, 1 rows: 1\)"):
        load_table(tmp_path / "t.parquet", columns=["i"])


def test_parquet_without_pyarrow_says_how_to_install_it(tmp_path, monkeypatch):
    """The error names the extra that brings it."""
    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vae-jax\[tables\]'"):
        load_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("kind", [np.ndarray, jax.Array])
def test_standardization_is_there_and_back(kind):
    """apply has mean 0 and std 1 by column, invert undoes it, in numpy and jax; constants too."""
    rows = np.random.default_rng(0).normal([5.0, -1e4, 0.0], [2.0, 0.5, 1e-3], (500, 3))
    rows[:, 2] = 7.1
    rows = rows.astype(np.float32)
    found = learn_standardization(rows, ("a", "b", "c"))
    np.testing.assert_allclose(found.std[:2], rows.astype(float).std(axis=0)[:2], rtol=1e-12)
    x = jax.numpy.asarray(rows) if kind is jax.Array else rows
    z = found.apply(x)
    assert isinstance(z, kind)
    assert z.dtype == np.float32
    np.testing.assert_allclose(np.mean(z, axis=0), 0, atol=3e-3)
    np.testing.assert_allclose(np.std(z, axis=0), [1, 1, 0], atol=1e-3)
    spacing = np.finfo(np.float32).eps * (np.abs(found.mean) + 5 * np.asarray(found.std))
    assert np.all(np.abs(found.invert(z) - rows) <= 3 * spacing)
    np.testing.assert_array_equal(found.invert(z)[:, 2], rows[:, 2])
    np.testing.assert_array_equal(jax.jit(found.apply)(x), found.apply(jax.numpy.asarray(x)))


def test_standardization_of_blocks_is_that_of_the_whole():
    """Merged in float64: a mean of 1e6 does not take the digits of a std of 1."""
    rows = 1e6 + np.random.default_rng(1).normal(size=(1000, 2))
    whole = learn_standardization(rows)
    blocks = learn_standardization([rows[:1], rows[1:400], rows[400:]])
    np.testing.assert_allclose(whole.mean, rows.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(blocks.mean, rows.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(whole.std, rows.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(blocks.std, rows.std(axis=0), rtol=1e-9)


def test_what_float32_cannot_tell_apart_counts_as_constant():
    """Neighbours of 1e8 in float64 are one number in float32: std 1, not 0.5."""
    rows = np.array([[1e8, 0.0], [1e8 + 1, 1.0]])
    assert learn_standardization(rows).std == (1.0, 0.5)


def test_standardization_is_kept_with_a_run(tiny, tmp_path):
    """In the run's settings, and back from its config.json to the same bits."""
    found = learn_standardization(np.asarray(tiny.data), ["a", "b", "c"])
    settings = {"standardization": found.to_json()}
    run_fit(tiny, 2, run_dir=tmp_path / "run", settings=settings)
    run_fit(tiny, 3, run_dir=tmp_path / "run", settings=settings, resume=True)
    config = vae_jax.load_run(tmp_path / "run").config
    assert Standardization.from_json(config["settings"]["standardization"]) == found


def test_standardization_survives_json():
    """The same numbers to the last bit, and an error for what is none."""
    found = learn_standardization(np.random.default_rng(2).normal(size=(9, 2)), ["a", "b"])
    assert Standardization.from_json(json.loads(json.dumps(found.to_json()))) == found
    bad = {"mean": [0.0], "std": [0.0], "names": ["a"]}
    for content in ([], {}, bad, {**bad, "std": [1.0, 2.0]}, {**bad, "std": "1"}):
        with pytest.raises((ValueError, TypeError)):
            Standardization.from_json(content)
    for content in ({**bad, "std": ["1"]}, {**bad, "std": [1.0], "names": [3]}):
        with pytest.raises(TypeError):
            Standardization.from_json(content)


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (np.zeros((0, 2)), None, "no rows"),
        (np.zeros(3), None, r"numbers \[N, D\]"),
        (np.array([["a"]]), None, r"numbers \[N, D\]"),
        (np.array([[np.nan]]), None, "NaN"),
        (np.zeros((2, 2)), ["a"], "1 names"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], None, "2 and 3 columns"),
    ],
)
def test_nothing_is_learned_from_what_is_no_table(rows, names, message):
    """No rows, no numbers, other shapes: refused."""
    with pytest.raises(ValueError, match=message):
        learn_standardization(rows, names)


def test_standardization_refuses_other_rows():
    """As many columns as were learned on."""
    found = learn_standardization(ROWS)
    with pytest.raises(ValueError, match="learned on 3 columns"):
        found.apply(np.zeros((5, 2)))


def idx_bytes(array, code):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(
    ("dtype", "code"), [("u1", 8), ("i1", 9), ("i2", 11), ("i4", 12), ("f4", 13), ("f8", 14)]
)
def test_idx_files_hold_what_they_say(tmp_path, dtype, code):
    """Every type of the format, plain or packed; a byte too few or too many is refused."""
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content, path = idx_bytes(array, code), tmp_path / "images"
    for packed in (content, gzip.compress(content)):
        path.write_bytes(packed)
        np.testing.assert_array_equal(read_idx(path), array, strict=True)
    for wrong in (content[:-1], content + b"\0", content[:9], content[:3], b"\1" + content[1:]):
        for packed in (wrong, gzip.compress(wrong)):
            path.write_bytes(packed)
            with pytest.raises(ValueError, match=str(path)):
                read_idx(path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_idx(tmp_path / "none")


def test_tables_are_public():
    """The package has them by name."""
    assert vae_jax.load_table is load_table
