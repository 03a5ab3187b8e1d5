"""Downloads from a local server: whole and checked, or not at all, and resumed."""

import errno
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import vae_jax
from vae_jax.data import download as module
from vae_jax.data import sources
from vae_jax.data.download import download

BODY = bytes(range(256)) * 400
CHECKSUM = "sha256:" + hashlib.sha256(BODY).hexdigest()


class Server(NamedTuple):
    url: str
    behaviour: dict
    """cut: bytes after which the connection ends; ranges: whether they are served; status."""
    requests: list
    """The Range header of each request, or None."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        behaviour = self.server.behaviour
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if "status" in behaviour:
            self.send_error(behaviour["status"])
            return
        start = int(asked[6:-1]) if asked and behaviour.get("ranges", True) else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start : behaviour.get("cut")])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.behaviour, running.requests = {}, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/data.gz"
        yield Server(url, running.behaviour, running.requests)
        running.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole(server, tmp_path):
    """Under its name, with nothing beside it."""
    download(server.url, tmp_path / "new" / "data.gz", CHECKSUM)
    assert (tmp_path / "new" / "data.gz").read_bytes() == BODY
    assert names(tmp_path / "new") == ["data.gz"]


def test_an_interrupted_transfer_is_taken_up_where_it_stopped(server, tmp_path):
    """OSError and a .part, no file; then only the rest is fetched."""
    server.behaviour["cut"] = 40_000
    with pytest.raises(OSError, match=r"could not be downloaded.*32768 bytes are kept"):
        download(server.url, tmp_path / "data.gz", CHECKSUM)
    assert names(tmp_path) == ["data.gz.part"]
    server.behaviour.clear()
    download(server.url, tmp_path / "data.gz", CHECKSUM)
    assert (tmp_path / "data.gz").read_bytes() == BODY
    assert server.requests == [None, "bytes=32768-"]
    assert names(tmp_path) == ["data.gz"]


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    """An answer 200 to a request for the rest replaces what was there."""
    (tmp_path / "data.gz.part").write_bytes(BODY[:500])
    server.behaviour["ranges"] = False
    download(server.url, tmp_path / "data.gz", CHECKSUM)
    assert (tmp_path / "data.gz").read_bytes() == BODY


@pytest.mark.parametrize("part", [BODY, BODY + b"more"])
def test_a_part_that_is_too_long_is_fetched_anew(server, tmp_path, part):
    """The server has nothing from there on."""
    (tmp_path / "data.gz.part").write_bytes(part)
    download(server.url, tmp_path / "data.gz", CHECKSUM)
    assert (tmp_path / "data.gz").read_bytes() == BODY
    assert server.requests == [f"bytes={len(part)}-", None]


@pytest.mark.parametrize("part", [None, b"x" * 500], ids=["file", "part"])
def test_a_wrong_checksum_keeps_nothing(server, tmp_path, part):
    """Another file at the address, or a part of another file: ValueError, and a clean folder."""
    if part:
        (tmp_path / "data.gz.part").write_bytes(part)
    checksum = CHECKSUM if part else "md5:" + "0" * 32
    with pytest.raises(ValueError, match="checksum"):
        download(server.url, tmp_path / "data.gz", checksum)
    assert names(tmp_path) == []


def test_a_full_disk_leaves_what_there_is(server, tmp_path, monkeypatch):
    """OSError 28 names the file; no whole file appears."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fsync)
    with pytest.raises(OSError, match=r"data\.gz.*No space left") as error:
        download(server.url, tmp_path / "data.gz", CHECKSUM)
    assert error.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["data.gz.part"]


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server_is_told(server, tmp_path, status):
    """OSError with the status; nothing is left."""
    server.behaviour["status"] = status
    with pytest.raises(OSError, match=str(status)):
        download(server.url, tmp_path / "data.gz", CHECKSUM)
    assert names(tmp_path) == []


def test_a_data_set_that_cannot_be_fetched_lists_its_files(server, tmp_path, monkeypatch):
    """load_images: FileNotFoundError with folder, addresses and the reason."""
    home = server.url.removesuffix("data.gz")
    monkeypatch.setitem(sources.SOURCES, "mnist", sources.SOURCES["mnist"]._replace(home=home))
    server.behaviour["status"] = 503
    with pytest.raises(FileNotFoundError) as error:
        vae_jax.load_images("mnist", tmp_path)
    assert str(tmp_path / "mnist") in str(error.value)
    assert "503" in str(error.value)
    assert all(home + name in str(error.value) for name in sources.MNIST_FILES)


def test_a_data_set_is_fetched_once(server, tmp_path, monkeypatch):
    """What is missing is downloaded; what is there is left alone."""
    home = server.url.removesuffix("data.gz")
    files = {"a.bin": CHECKSUM, "b.bin": CHECKSUM}
    source = sources.Source("two", home, files, (), lambda folder: {"images": images(folder)})
    monkeypatch.setitem(sources.SOURCES, "two", source)

    def images(folder):
        import numpy as np

        raw = b"".join((folder / name).read_bytes() for name in files)
        return np.frombuffer(raw, np.uint8).reshape(-1, 16, 16)

    for _ in range(2):
        assert vae_jax.load_images("two", tmp_path).train.shape == (720, 16, 16, 1)
    assert len(server.requests) == 2


def test_without_the_downloader_the_error_says_how_to_get_it(server, tmp_path, monkeypatch):
    """ImportError with the extra's name; from load_images, with the files to fetch by hand."""
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'vae_jax\[images\]'"):
        download(server.url, tmp_path / "data.gz", CHECKSUM)
    with pytest.raises(FileNotFoundError, match=r"vae_jax\[images\].*\n.*cifar-10-binary"):
        vae_jax.load_images("cifar10", tmp_path)
