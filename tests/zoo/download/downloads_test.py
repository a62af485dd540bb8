"""Downloads from a server on this machine that breaks off, lies and changes its files; no other network is touched."""

import contextlib
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.cli import main
from jaxcnn.zoo.checkpoint import MAX_BYTES
from jaxcnn.zoo.download import partial_download, transfers
from jaxcnn.zoo.download.downloads import DownloadError, cached, download
from tests.support.local_server import Served, server
from tests.support.paths import ROOT
from tests.support.untyped import untyped

BODY = np.random.default_rng(0).bytes(700_001)
OTHER = np.random.default_rng(1).bytes(len(BODY))
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
HALF = 300_000
NO_RETRY: tuple[float, ...] = ()


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No proxies, no pauses, and no second try unless a test wants some."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(transfers, "_PAUSES", NO_RETRY)


@pytest.fixture
def web():
    with server() as one:
        yield one


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(url, **options) -> str:
    """Returns the reason for which a download is refused."""
    with pytest.raises(DownloadError) as caught:
        download(url, **options)
    assert caught.value.url == url and str(caught.value) == f"{url}: {caught.value.reason}"
    return caught.value.reason


def broken(web, folder, served=None, checksum=SHA):
    """Breaks a download off in the middle, and gives what was served and its URL."""
    served = served or Served(BODY)
    served.breaks = [HALF]
    url = web.serve("/a.bin", served)
    assert f"{HALF} of {len(BODY)} bytes arrived" in refused(url, folder=folder, checksum=checksum)
    assert names(folder) == ["a.bin.part", "a.bin.part.json"]
    assert (folder / "a.bin.part").read_bytes() == served.body[:HALF]
    web.requests.clear()
    return served, url


# Whole files


@pytest.mark.parametrize("checksum", [SHA, SHA[:15], SHA.upper().replace("SHA256", "sha256"), MD5])
def test_whole_file(web, tmp_path, checksum):
    url = web.serve("/weights/a.bin", Served(BODY))
    seen = []
    path = download(url, checksum=checksum, folder=tmp_path / "new" / "folder", progress=lambda *now: seen.append(now))
    assert path == tmp_path / "new" / "folder" / "a.bin"
    assert path.read_bytes() == BODY
    assert names(path.parent) == [".a.bin.origin", "a.bin"]
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert [(one.range, one.if_range) for one in web.requests] == [(None, None)]


@pytest.mark.parametrize("body", [b"", b"1", BODY])
def test_body_in_chunks_has_no_length(web, tmp_path, body):
    url = web.serve("/a", Served(body, chunked=True))
    seen = []
    checksum = f"sha256:{hashlib.sha256(body).hexdigest()}"
    path = download(url, checksum=checksum, folder=tmp_path, progress=lambda *now: seen.append(now))
    assert path.read_bytes() == body
    assert seen[0] == (0, None) and seen[-1] == (len(body), None)


def test_body_until_the_connection_closes(web, tmp_path):
    url = web.serve("/a", Served(BODY, headers={"Content-Length": None}))
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY


def test_empty_file(web, tmp_path):
    empty = f"md5:{hashlib.md5(b'').hexdigest()}"
    assert download(web.serve("/a", Served()), checksum=empty, folder=tmp_path).read_bytes() == b""
    assert names(tmp_path) == [".a.origin", "a"]


def test_redirect_is_followed(web, tmp_path):
    web.serve("/b", Served(BODY))
    url = web.serve("/a", Served(b"moved", status=302, headers={"Location": "/b"}))
    assert download(url, checksum=SHA, folder=tmp_path) == tmp_path / "a"
    assert [one.path for one in web.requests] == ["/a", "/b"]


def test_name_comes_from_the_address(web, tmp_path):
    for path, options, name in (
        ("/x/a%20b.bin?download=1", {}, "a b.bin"),
        ("/x/content", {"name": "c.h5"}, "c.h5"),
        ("/x/%C3%BC.bin", {}, "ü.bin"),
    ):
        url = web.serve(path, Served(BODY))
        assert download(url, checksum=MD5, folder=tmp_path, **untyped(options)).name == name


def test_folder_comes_from_the_environment(web, tmp_path, monkeypatch):
    url = web.serve("/a", Served(BODY))
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("JAXCNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the XDG specification says to ignore
    assert download(url, checksum=SHA) == home / ".cache" / "jaxcnn" / "a"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download(url, checksum=SHA) == tmp_path / "xdg" / "jaxcnn" / "a"
    monkeypatch.setenv("JAXCNN_CACHE", "~/own")
    assert download(url, checksum=SHA) == home / "own" / "a"


# Files that are there


def test_cached_file_needs_no_network(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    assert cached(url, folder=tmp_path) is None and cached(url, folder=tmp_path, checksum=SHA) is None
    path = download(url, checksum=SHA, folder=tmp_path)
    web.stop()
    assert download(url, checksum=SHA, folder=tmp_path) == path
    assert download(url, checksum=MD5, folder=tmp_path) == path
    assert download(url, folder=tmp_path) == path
    assert cached(url, checksum=SHA[:20], folder=tmp_path) == cached(url, folder=tmp_path) == path
    assert cached(url, checksum="sha256:00000000", folder=tmp_path) is None
    assert "cannot be reached" in refused(url, checksum="sha256:00000000", folder=tmp_path)
    assert path.read_bytes() == BODY  # and is still there
    assert names(tmp_path) == [".a.origin", "a"]


def test_file_put_there_by_hand_is_taken(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    url = "http://no-such-host.invalid/a"
    assert download(url, folder=tmp_path) == download(url, folder=tmp_path, checksum=SHA) == tmp_path / "a"


def test_file_that_does_not_match_is_downloaded_anew(web, tmp_path):
    (tmp_path / "a").write_bytes(OTHER)
    url = web.serve("/a", Served(BODY))
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY


def test_other_address_with_the_same_name_is_another_file(web, tmp_path):
    one, two = web.serve("/1/a", Served(BODY)), web.serve("/2/a", Served(OTHER))
    for url, body in ((one, BODY), (two, OTHER), (one, BODY)):
        with pytest.warns(UserWarning, match="unverified"):
            assert download(url, folder=tmp_path).read_bytes() == body
    assert cached(one, folder=tmp_path) is not None and cached(two, folder=tmp_path) is None


@pytest.mark.errors  # a checker of annotations would be the caller that the warning names
def test_unverified_warns_once(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    with pytest.warns(UserWarning) as caught:
        download(url, folder=tmp_path)
    assert [str(one.message) for one in caught] == [
        f"download: a came from {url} without a checksum, so it is unverified; it has '{SHA}'."
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        download(url, folder=tmp_path)


# Broken off


@pytest.mark.parametrize("checksum", [SHA, None])
def test_resume_asks_for_the_rest_only(web, tmp_path, checksum):
    served, url = broken(web, tmp_path, checksum=checksum)
    seen = []
    expected = contextlib.nullcontext() if checksum else pytest.warns(UserWarning, match=SHA)
    with expected:
        path = download(url, checksum=checksum, folder=tmp_path, progress=lambda *now: seen.append(now))
    assert path.read_bytes() == BODY
    (one,) = web.requests
    assert (one.range, one.if_range) == (f"bytes={HALF}-", served.tag)
    assert (one.status, one.sent) == (206, len(BODY) - HALF)
    assert seen[0] == (HALF, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert names(tmp_path) == [".a.bin.origin", "a.bin"]


def test_resume_by_date_where_there_is_no_tag(web, tmp_path):
    date = "Wed, 01 Jul 2020 00:00:00 GMT"
    headers = {"ETag": None, "Last-Modified": date}
    _, url = broken(web, tmp_path, Served(BODY, headers=headers, always=True))
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [(one.if_range, one.sent) for one in web.requests] == [(date, len(BODY) - HALF)]


def test_broken_connection_is_tried_again(web, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_PAUSES", (0.0, 0.0, 0.0))
    url = web.serve("/a", Served(BODY, breaks=[100_000, 0, 200_000]))
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [one.sent for one in web.requests] == [100_000, 0, 200_000, len(BODY) - 300_000]
    assert [one.range for one in web.requests] == [None, "bytes=100000-", "bytes=100000-", "bytes=300000-"]


def test_tries_end(web, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_PAUSES", (0.0, 0.0))
    url = web.serve("/a", Served(BODY, breaks=[10] * 9))
    reason = refused(url, folder=tmp_path)
    assert f"30 of {len(BODY)} bytes arrived before the connection closed, after 3 tries" in reason
    assert len(web.requests) == 3


def test_silent_server_is_given_up(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(transfers, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        assert "timed out" in refused(url, folder=tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("change", ["no ranges", "no tag", "weak tag"])
def test_server_without_resume_starts_anew(web, tmp_path, change):
    headers = {"no tag": {"ETag": None}, "weak tag": {"ETag": 'W/"1"', "Last-Modified": "yesterday"}}.get(change, {})
    served, url = broken(web, tmp_path, Served(BODY, headers=headers, ranges=change != "no ranges"))
    seen = []
    assert download(url, checksum=SHA, folder=tmp_path, progress=lambda *now: seen.append(now)).read_bytes() == BODY
    assert seen[0] == (0, len(BODY))
    assert [(one.range, one.status, one.sent) for one in web.requests] == [
        (f"bytes={HALF}-" if change == "no ranges" else None, 200, len(BODY))
    ]
    assert served.breaks == []


@pytest.mark.parametrize(
    "note",
    ["", "{", "[1]", "[" * 5000, "\0", '{"url": 3}', '{"url": "URL", "validator": "a\\r\\nb"}', '{"url": "URL"}'],
)
def test_part_with_a_damaged_note_starts_anew(web, tmp_path, note):
    _, url = broken(web, tmp_path)
    (tmp_path / "a.bin.part.json").write_text(note.replace("URL", url))
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [(one.range, one.sent) for one in web.requests] == [(None, len(BODY))]


def test_file_that_changed_meanwhile_starts_anew(web, tmp_path):
    served, url = broken(web, tmp_path)
    before, served.body = served.tag, OTHER
    with pytest.warns(UserWarning, match="unverified"):
        assert download(url, folder=tmp_path).read_bytes() == OTHER
    assert [(one.if_range, one.status, one.sent) for one in web.requests] == [(before, 200, len(OTHER))]


def test_other_address_does_not_go_on_with_the_part(web, tmp_path):
    broken(web, tmp_path)
    url = web.serve("/other/a.bin", Served(OTHER))
    with pytest.warns(UserWarning, match="unverified"):
        assert download(url, folder=tmp_path).read_bytes() == OTHER
    assert [one.range for one in web.requests] == [None]


@pytest.mark.parametrize(
    "span",
    [
        f"bytes {HALF + 1}-{len(BODY) - 1}/{len(BODY)}",
        f"bytes {HALF}-{len(BODY) - 2}/{len(BODY)}",
        f"bytes {HALF}-{len(BODY)}/{len(BODY) + 1}",
        f"bytes {HALF}-{len(BODY) - 1}/*",
        "bytes nonsense",
    ],
)
def test_lying_range_starts_anew(web, tmp_path, span):
    served, url = broken(web, tmp_path)
    served.span = span
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [(one.range is None, one.status) for one in web.requests] == [(False, 206), (True, 200)]


def test_range_of_another_version_starts_anew(web, tmp_path):
    served, url = broken(web, tmp_path)
    served.body, served.always = OTHER, True  # serves ranges and does not look at If-Range
    with pytest.warns(UserWarning, match="unverified"):
        assert download(url, folder=tmp_path).read_bytes() == OTHER
    assert [one.status for one in web.requests] == [206, 200]


def test_part_that_is_too_long_starts_anew(web, tmp_path):
    served, url = broken(web, tmp_path)
    served.always = True
    with open(tmp_path / "a.bin.part", "ab") as file:
        file.write(BODY)
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [one.status for one in web.requests] == [416, 200]


def test_broken_chunks_are_no_file(web, tmp_path):
    url = web.serve("/a", Served(BODY, chunked=True, breaks=[HALF]))
    assert f"{HALF} bytes arrived before the connection broke" in refused(url, folder=tmp_path)
    assert names(tmp_path) == ["a.part", "a.part.json"]
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert web.requests[-1].range == f"bytes={HALF}-"


def test_stopped_by_the_caller_goes_on_later(web, tmp_path):
    url = web.serve("/a", Served(BODY))

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url, checksum=SHA, folder=tmp_path, progress=stop)
    assert names(tmp_path) == ["a.part", "a.part.json"]
    there = (tmp_path / "a.part").stat().st_size
    assert 0 < there < len(BODY)
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert web.requests[-1].range == f"bytes={there}-"


def test_killed_leaves_no_file_and_goes_on(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    code = (
        "import os, signal, sys\n"
        "from jaxcnn.zoo.download.downloads import download\n"
        "kill = lambda done, total: done > 100_000 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "download(sys.argv[1], folder=sys.argv[2], progress=kill)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["a.part", "a.part.json"]
    there = (tmp_path / "a.part").read_bytes()
    assert len(there) > 90_000 and there == BODY[: len(there)]
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [one.range for one in web.requests] == [None, f"bytes={len(there)}-"]


# Refused


def test_longer_than_stated(web, tmp_path):
    url = web.serve("/a", Served(BODY, announced=HALF))
    assert refused(url, folder=tmp_path) == f"more bytes arrived than the {HALF} that the server stated."
    assert names(tmp_path) == []


def test_shorter_than_stated(web, tmp_path):
    url = web.serve("/a", Served(BODY, announced=len(BODY) + 5))
    reason = refused(url, folder=tmp_path, checksum=SHA)
    assert reason == f"{len(BODY)} of {len(BODY) + 5} bytes arrived before the connection closed, after 1 tries."
    assert names(tmp_path) == ["a.part", "a.part.json"]


def test_longer_than_allowed(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    reason = refused(url, folder=tmp_path, max_bytes=len(BODY) - 1)
    assert reason == f"the file has {len(BODY)} bytes, more than max_bytes={len(BODY) - 1}."
    assert names(tmp_path) == []
    assert download(url, folder=tmp_path, checksum=SHA, max_bytes=len(BODY)).read_bytes() == BODY
    web.files["/b"] = Served(announced=MAX_BYTES + 1)
    assert "max_bytes" in refused(f"{web.address}/b", folder=tmp_path)


def test_longer_than_allowed_without_a_length(web, tmp_path):
    url = web.serve("/a", Served(BODY, chunked=True))
    limit = len(BODY) - 1
    assert refused(url, folder=tmp_path, max_bytes=limit) == f"more bytes arrived than max_bytes={limit}."
    assert names(tmp_path) == []
    assert download(url, folder=tmp_path, checksum=SHA, max_bytes=len(BODY)).read_bytes() == BODY


def test_rest_that_is_longer_than_allowed(web, tmp_path):
    _, url = broken(web, tmp_path)
    assert "more than max_bytes" in refused(url, folder=tmp_path, max_bytes=len(BODY) - 1)
    assert (tmp_path / "a.bin.part").stat().st_size == HALF


def test_other_version_that_is_longer_than_allowed_keeps_the_part(web, tmp_path):
    served, url = broken(web, tmp_path)
    served.body = OTHER + b"more"
    assert "more than max_bytes" in refused(url, folder=tmp_path, max_bytes=len(OTHER))
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:HALF]


@pytest.mark.parametrize("checksum", [SHA, SHA[:20], MD5])
def test_wrong_bytes(web, tmp_path, checksum):
    url = web.serve("/a", Served(OTHER))
    algorithm = checksum.partition(":")[0]
    got = f"{algorithm}:{hashlib.new(algorithm, OTHER).hexdigest()}"
    reason = refused(url, checksum=checksum, folder=tmp_path)
    assert reason == f"the checksum must be {checksum}, got {got} of {len(OTHER)} bytes."
    assert names(tmp_path) == []


def test_wrong_bytes_leave_the_file_before(web, tmp_path):
    (tmp_path / "a").write_bytes(b"before")
    assert "checksum" in refused(web.serve("/a", Served(OTHER)), checksum=SHA, folder=tmp_path)
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (Served(status=404), "the server answered 404 Not Found."),
        (Served(status=503), "the server answered 503 Service Unavailable."),
        (Served(status=204), "the server answered 204 No Content."),
        (Served(BODY, status=206), "the server answered 206, not the whole file."),
        (Served(BODY, headers={"Content-Encoding": "gzip"}), "encoded as 'gzip'"),
        (Served(BODY, headers={"Content-Length": "many"}), "the length 'many'"),
        (Served(BODY, headers={"Content-Length": "-1"}), "the length '-1'"),
        (Served(status=302, headers={"Location": "file:///etc/hosts"}), "file:///etc/hosts"),
        (Served(status=302, headers={"Location": "ftp://127.0.0.1/a"}), "which is not followed"),
        (Served(status=301), "redirects to nowhere."),
        (Served(status=304), "answered 304 Not Modified."),
        (Served(status=307, headers={"Location": "http://me:secret@127.0.0.1/a"}), "cannot be reached"),
        (Served(status=302, headers={"Location": "/a"}), "redirects more than 10 times"),
        (Served(status=302, headers={"Location": "http://[/"}), "redirects to 'http://[/'"),
    ],
)
def test_errors_of_the_server(web, tmp_path, served, message):
    assert message in refused(web.serve("/a", served), folder=tmp_path)
    assert names(tmp_path) == []


def test_errors_of_the_server_keep_the_part(web, tmp_path):
    served, url = broken(web, tmp_path)
    served.status, served.ranges = 503, False
    assert "503" in refused(url, checksum=SHA, folder=tmp_path)
    assert names(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    served.status, served.ranges = 200, True
    download(url, checksum=SHA, folder=tmp_path)
    assert [one.sent for one in web.requests] == [0, len(BODY) - HALF]


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("http://example.org/b", None),
        ("//example.org/b", "https://example.org/b"),
        ("/b c?d=%2F", "https://example.com/b%20c?d=%2F"),
        ("HTTPS://example.org/b", "https://example.org/b"),
        ("HTTP://example.org/b", None),
        ("data:,b", None),
        ("", None),
        ("https://example.org/\u20ac", None),
    ],
)
def test_errors_of_redirects_to_less_than_https(location, there):
    if there is not None:
        assert transfers._resolve_redirect("http://a/b", "https://example.com/a", location) == there
        return
    with pytest.raises(
        DownloadError, match="^http://a/b: the server redirects to (nowhere|.* which is not followed)[.]"
    ):
        transfers._resolve_redirect("http://a/b", "https://example.com/a", location)


def test_errors_of_no_server(tmp_path):
    with server() as web:
        url = f"{web.address}/a"
    assert "cannot be reached" in refused(url, folder=tmp_path)
    assert names(tmp_path) == []


@pytest.mark.errors
@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("file:///etc/hosts", {}, "download: url must be a URL of scheme http or https"),
        ("ftp://example.org/a", {}, "got 'ftp://example.org/a'"),
        ("example.org/a", {}, "got 'example.org/a'"),
        ("http:///a", {}, "with a host"),
        ("http://[/a", {}, "download: url must be"),
        ("https://me:secret@example.org/a", {}, "without a user"),
        (Path("a"), {}, "download: url must be"),
        ("https://example.org/", {}, "name must be a file's name"),
        ("https://example.org/..", {}, "got '..'"),
        ("https://example.org/a%2F..%2Fb", {}, "got 'a/../b'"),
        ("https://example.org/a", {"name": "../a"}, "got '../a'"),
        ("https://example.org/a", {"name": "c:a"}, "got 'c:a'"),
        ("https://example.org/a", {"name": "a\\b"}, "download: name must be"),
        ("https://example.org/a", {"name": "a\0"}, "download: name must be"),
        ("https://example.org/a", {"name": "a.part"}, "got 'a.part'"),
        ("https://example.org/a", {"name": "a" * 201}, "at most 200 bytes"),
        ("https://example.org/a", {"name": 3}, "got 3"),
        ("https://example.org/a", {"checksum": SHA[7:]}, "checksum must be 'sha256:' and 8 to 64"),
        ("https://example.org/a", {"checksum": "sha256:abcdef0"}, "got 'sha256:abcdef0'"),
        ("https://example.org/a", {"checksum": f"{SHA}0"}, "checksum must be"),
        ("https://example.org/a", {"checksum": MD5[:-1]}, "checksum must be"),
        ("https://example.org/a", {"checksum": "sha256:0000000g"}, "checksum must be"),
        ("https://example.org/a", {"checksum": 3}, "got 3"),
        ("https://example.org/a", {"max_bytes": 0}, "max_bytes must be a positive integer, got 0"),
    ],
)
def test_errors_of_arguments(tmp_path, url, options, message):
    with pytest.raises(ValueError) as caught:
        download(url, folder=tmp_path, **options)
    assert message in str(caught.value)
    assert names(tmp_path) == []
    if "max_bytes" not in options:
        with pytest.raises(ValueError, match="cached: "):
            cached(url, folder=tmp_path, **options)


def test_errors_of_the_place(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="'a', which is a folder"):
        download(url, folder=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        download(url, folder=tmp_path / "file")
    (tmp_path / "b.part").symlink_to(tmp_path / "file")
    with pytest.raises(OSError):
        download(url, folder=tmp_path, name="b")
    assert (tmp_path / "file").read_text() == "" and web.requests == []


def test_errors_of_a_full_disk(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    code = (
        "import resource, signal, sys\n"
        "from jaxcnn.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({HALF}, {HALF}))\n"  # no file may be longer
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", code, "download", url, "--checksum", SHA, "--folder", str(tmp_path)]
    root = ROOT
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "File too large" in done.stderr and str(tmp_path / "a.part") in done.stderr
    assert (tmp_path / "a.part").read_bytes() == BODY[:HALF]
    assert download(url, checksum=SHA, folder=tmp_path).read_bytes() == BODY
    assert [one.range for one in web.requests] == [None, f"bytes={HALF}-"]


def test_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(DownloadError("http://a/b", "is gone.")))
    assert (error.url, error.reason, str(error)) == ("http://a/b", "is gone.", "http://a/b: is gone.")
    assert isinstance(error, OSError)


# Several at once


def at_once(count, call):
    """Runs ``call`` in threads, and gives what each returned or raised."""
    results: list[object] = [None] * count
    begin = threading.Barrier(count)

    def run(i):
        begin.wait()
        try:
            results[i] = call()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_at_once_download_once(web, tmp_path):
    url = web.serve("/a", Served(BODY))
    assert at_once(4, lambda: download(url, checksum=SHA, folder=tmp_path)) == [tmp_path / "a"] * 4
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(web.requests) == 1
    assert names(tmp_path) == [".a.origin", "a"]


def test_thread_goes_on_where_another_broke_off(web, tmp_path):
    url = web.serve("/a", Served(BODY, breaks=[HALF]))
    results = at_once(2, lambda: download(url, checksum=SHA, folder=tmp_path))
    assert [type(one) for one in sorted(results, key=str)] == [type(tmp_path), DownloadError]
    assert (tmp_path / "a").read_bytes() == BODY
    assert [one.sent for one in web.requests] == [HALF, len(BODY) - HALF]


def test_waiting_behind_a_refused_one_starts_anew(web, tmp_path):
    url = web.serve("/a", Served(OTHER))
    results = at_once(3, lambda: download(url, checksum=SHA, folder=tmp_path))
    assert [type(one) for one in results] == [DownloadError] * 3
    assert names(tmp_path) == []


def test_part_of_the_next_one_is_left_alone(tmp_path):
    with partial_download.hold(tmp_path / "a") as part:
        part.discard()
        (tmp_path / "a.part").write_bytes(b"next")
    assert (tmp_path / "a.part").read_bytes() == b"next"


def test_where_files_cannot_be_locked_nothing_is_damaged(web, tmp_path, monkeypatch):
    monkeypatch.setattr(partial_download, "_open_locked", lambda path: None)
    url = web.serve("/a", Served(BODY, breaks=[HALF]))
    assert f"{HALF} of" in refused(url, checksum=SHA, folder=tmp_path)
    assert names(tmp_path) == []
    assert at_once(3, lambda: download(url, checksum=SHA, folder=tmp_path)) == [tmp_path / "a"] * 3
    assert (tmp_path / "a").read_bytes() == BODY
    assert names(tmp_path) == [".a.origin", "a"]
    assert "checksum" in refused(url, checksum="sha256:00000000", folder=tmp_path)
    assert names(tmp_path) == [".a.origin", "a"]


def test_mode_of_the_file_is_the_usual_one(web, tmp_path):
    (tmp_path / "usual").touch()
    path = download(web.serve("/a", Served(BODY)), checksum=SHA, folder=tmp_path)
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert os.access(path, os.R_OK)


# The command line


@pytest.mark.parametrize("options", [[], ["--no-progress"]])
def test_command_prints_the_path(web, tmp_path, capsys, options):
    url = web.serve("/a", Served(BODY))
    for _ in range(2):
        assert main(["download", url, "--checksum", SHA, "--folder", str(tmp_path), "--name", "b", *options]) == 0
        said = capsys.readouterr()
        assert (said.out, said.err.strip()) == (f"{tmp_path / 'b'}\n", "")
    assert (tmp_path / "b").read_bytes() == BODY and len(web.requests) == 1


def test_command_warns_of_unverified_files(web, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["download", web.serve("/a", Served(BODY)), "--folder", str(tmp_path)]) == 0
    assert f"warning: download: a came from {web.address}/a without a checksum" in capsys.readouterr().err


def test_errors_of_the_command(web, tmp_path, capsys):
    for url, message in (
        (web.address + "/a", f"jaxcnn: {web.address}/a: the server answered 404 Not Found."),
        ("file:///etc/hosts", "jaxcnn: download: url must be"),
    ):
        assert main(["download", url, "--folder", str(tmp_path)]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.strip().startswith(message) and said.err.strip().count("\n") == 0
    assert main(["download"]) == 2
    assert "jaxcnn download: " in capsys.readouterr().err
