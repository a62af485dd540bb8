"""Downloads weight files: on request only, verified, and cached."""

import os
import re
import urllib.parse
import warnings
from pathlib import Path

from jaxcnn._check import check, is_integer_at_least
from jaxcnn.zoo.checkpoint import MAX_BYTES
from jaxcnn.zoo.download import partial_download
from jaxcnn.zoo.download.transfers import DownloadError, Progress, transfer
from jaxcnn.zoo.records import weight_records
from jaxcnn.zoo.records.checksums import Checksum, hash_file

__all__ = ["DownloadError", "cached", "download"]

_MAX_NAME = 200  # bytes, which leaves room for the suffixes of partial files


def download(
    url: str,
    *,
    checksum: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Downloads a file unless it is cached, and verifies its checksum.

    The file is named by its address, or by a record, which states address and checksum.

    A cached file is verified and returned without using the network; one that does not match is downloaded again.
    Until a file is complete and verified, it is kept under ``<name>.part``. An interrupted download is resumed if the
    server supports ranges and still has the same version; after a connection error it is retried a few times. Several
    processes or threads may request the same file at once: one of them downloads it.

    Convention: The folder is ``folder``, or else the environment's ``JAXCNN_CACHE``, ``$XDG_CACHE_HOME/jaxcnn`` or
    ``~/.cache/jaxcnn``, whichever is set first. Proxies are taken from the environment.

    Args:
        url: Of scheme http or https, or the name of a record, such as ``"keras/mobilenet_v1_0.25_224"``. Redirects are
            followed to these schemes, but not from https to http.
        checksum: As sources publish it: ``"sha256:"`` with 64 hexadecimal digits or the first 8 or more of them,
            ``"sha1:"`` with 40, or ``"md5:"`` with 32. None uses that of the record; without one any file is
            accepted, and a warning states its checksum, to be passed the next time.
        folder: Where to keep the file.
        name: The file's name; None uses the last part of the URL's path.
        progress: Called as ``progress(done, total)`` with numbers of bytes; ``total`` is None if the server does
            not state it. An exception in it ends the download, which can be resumed.
        max_bytes: The size of the largest file to accept.

    Returns:
        The path of the file.

    Raises:
        DownloadError: If the server cannot be reached or refuses, or the file is larger than allowed, larger or smaller
            than stated, or does not match ``checksum``.
        OSError: If it cannot be written.
        ValueError: For another scheme, an unknown record, a checksum of another form, and a name that is not one
            of a file.

    Example:
        >>> from pathlib import Path
        >>> import tempfile
        >>> from jaxcnn.zoo.download.downloads import download
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "weights-af49746b.h5").write_bytes(b"not many")  # cached: nothing is downloaded
        ...     path = download("https://example.org/weights-af49746b.h5", checksum="sha256:af49746b", folder=folder)
        >>> path.name
        'weights-af49746b.h5'

    Parity: ``torch.hub.load_state_dict_from_url(check_hash=True)`` compares the first digits of SHA-256 in the file's
        name, ``keras.utils.get_file`` MD5 or SHA-256; neither resumes an interrupted download.

    References:
        RFC 9110, HTTP Semantics, sections 13.1.5 and 14 (conditional and range requests).
    """
    url, checksum = _resolve_record(url, checksum)
    target, expected = _check_target("download", url, checksum, folder, name)
    check(is_integer_at_least(max_bytes, 1), "download", "max_bytes", "a positive integer", repr(max_bytes))
    if _is_cached(target, url, expected):
        return target
    check(not target.is_dir(), "download", "name", "the name of a file", f"{target.name!r}, which is a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with partial_download.hold(target) as part:
        if _is_cached(target, url, expected):  # another process has downloaded it in the meantime
            return target
        transfer(url, part, max_bytes=max_bytes, progress=progress)
        part.flush()
        got = hash_file(part.path) if expected is None else expected.of(part.path)
        if expected is not None and not expected.matches(got):
            size = part.size
            part.discard()
            raise DownloadError(url, f"the checksum must be {expected}, got {got} of {size} bytes.")
        part.finish(url)
    if expected is None:
        text = f"download: {target.name} came from {url} without a checksum, so it is unverified; it has {str(got)!r}."
        warnings.warn(text, UserWarning, stacklevel=2)
    return target


def cached(
    url: str,
    *,
    checksum: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Path | None:
    """Returns the path of a cached file, without using the network.

    Args:
        url: As for ``download``, like the following.
        checksum: What the file must match; None uses that of the record. Without one, any file counts that came from
            this URL or was put there by hand.
        folder: Where it is kept.
        name: The file's name.

    Returns:
        The path that ``download`` would return at once, or None if it had to download.

    Raises:
        ValueError: As ``download``.

    Example:
        >>> import tempfile
        >>> from jaxcnn.zoo.download.downloads import cached
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(cached("https://example.org/weights.h5", folder=folder))
        None
    """
    url, checksum = _resolve_record(url, checksum)
    target, expected = _check_target("cached", url, checksum, folder, name)
    return target if _is_cached(target, url, expected) else None


def _resolve_record(url: str, checksum: str | None) -> tuple[str, str | None]:
    """Replaces the name of a record by its address and checksum; anything else stays as it is."""
    found = None if ":" in str(url) else weight_records.find(url)
    if found is None:
        return url, checksum
    return found.url, found.checksum if checksum is None else checksum


def _is_cached(target: Path, url: str, expected: Checksum | None) -> bool:
    if not target.is_file():
        return False
    if expected is None:  # another URL may end in the same name
        return partial_download.origin_url(target) in (None, url)
    return expected.matches(expected.of(target))


def _check_target(
    function: str, url: str, checksum: str | None, folder: str | os.PathLike[str] | None, name: str | None
) -> tuple[Path, Checksum | None]:
    """Checks the arguments; returns where the file belongs and the checksum that it must match."""
    expected = "a URL of scheme http or https with a host, and without a user, or the name of a record"
    check(isinstance(url, str), function, "url", expected, repr(url))
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        raise ValueError(f"{function}: url must be {expected}, got {url!r}.") from None
    check(good, function, "url", expected, f"{url!r}{'' if ':' in url else weight_records.suggest_record(url)}")
    if name is None:
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
    good = isinstance(name, str) and re.fullmatch(r"[^/\\:\x00-\x1f\x7f]+", name) is not None
    good = good and name not in (".", "..") and not name.endswith((".part", ".part.json"))
    good = good and len(name.encode(errors="replace")) <= _MAX_NAME
    expected = f"a file's name of at most {_MAX_NAME} bytes, without separators and not ending in '.part'"
    check(good, function, "name", expected, repr(name))
    parsed = None if checksum is None else Checksum.parse(function, checksum)
    return (_cache_folder() if folder is None else Path(folder)) / name, parsed


def _cache_folder() -> Path:
    if own := os.environ.get("JAXCNN_CACHE"):
        return Path(own).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "jaxcnn"
