"""Transfers a file from the web into its partial file: started, resumed after a break, never more than allowed."""

import http.client
import re
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message

import jaxcnn
from jaxcnn.zoo.download.partial_download import PartialFile

__all__ = ["DownloadError", "Progress", "transfer"]

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes so far and, if it is known, their total."""

_TIMEOUT = 30.0  # seconds, to connect and between two pieces
_PAUSES = (0.5, 2.0, 8.0)  # seconds before each retry after a broken connection
_REDIRECTS = 10
_PIECE = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_BREAKS = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError, http.client.IncompleteRead)


class DownloadError(OSError):
    """A file that cannot be downloaded, or is not the requested one: ``url: reason``."""

    def __init__(self, url: str, reason: str):
        """Joins the requested URL and the reason."""
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason

    def __reduce__(self) -> tuple[type["DownloadError"], tuple[str, str]]:
        """Pickles both arguments; an exception would pickle only its message."""
        return type(self), (self.url, self.reason)


class _BrokenError(Exception):
    """A connection that broke; a new one may succeed."""


def transfer(url: str, part: PartialFile, *, max_bytes: int, progress: Progress | None) -> None:
    """Downloads the missing rest of a file into its partial file, with a few retries if the connection breaks.

    Args:
        url: Of scheme http or https.
        part: Where it goes. It is resumed if it holds the beginning of the same version of the file.
        max_bytes: The size of the largest file to accept.
        progress: Called at the start and after every piece.

    Raises:
        DownloadError: If the download failed. Received data stay in the partial file if they can be resumed.
    """
    pauses = iter(_PAUSES)
    while True:
        try:
            return _try(url, part, max_bytes, progress)
        except _BrokenError as error:
            pause = next(pauses, None)
            if pause is None:
                raise DownloadError(url, f"{error}, after {len(_PAUSES) + 1} tries.") from error
        time.sleep(pause)


def _try(url: str, part: PartialFile, max_bytes: int, progress: Progress | None) -> None:
    offset, validator = part.size, part.validator(url)
    if validator is not None:
        with _open(url, {"Range": f"bytes={offset}-", "If-Range": validator}) as response:
            if response.status == 206 and (total := _check_range(response, offset, validator)) is not None:
                return _receive(url, response, part, total, max_bytes, progress)
            if response.status == 200:
                return _begin(url, response, part, max_bytes, progress)
    with _open(url, {}) as response:
        return _begin(url, response, part, max_bytes, progress)


def _open(url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Requests a file, following redirects; returns a response of status 200 or 206, or 416 to a range request."""
    address = url
    for _ in range(_REDIRECTS + 1):
        answer = _request(url, address, headers)
        if answer.status in (200, 206) or (answer.status == 416 and headers):
            return answer
        with answer:  # its body is not read, however large it is
            if answer.status not in (301, 302, 303, 307, 308):
                raise DownloadError(url, f"the server answered {answer.status} {answer.reason}.")
            address = _resolve_redirect(url, address, answer.headers.get("Location", ""))
    raise DownloadError(url, f"the server redirects more than {_REDIRECTS} times.")


def _resolve_redirect(url: str, address: str, location: str) -> str:
    """Returns the address that a redirect leads to: http or https, and never from https to http."""
    if not location:
        raise DownloadError(url, "the server redirects to nowhere.")
    try:
        quoted = urllib.parse.quote(location, safe=string.punctuation, encoding="iso-8859-1")
        target = urllib.parse.urljoin(address, quoted)
        there, here = (urllib.parse.urlsplit(one).scheme for one in (target, address))
    except ValueError:  # brackets without a host, and characters that headers may not contain
        target = there = here = ""
    if there not in ("http", "https") or (here == "https" and there == "http"):
        raise DownloadError(url, f"the server redirects to {location!r}, which is not followed.")
    return target


def _request(url: str, address: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    agent = {"User-Agent": f"jaxcnn/{jaxcnn.__version__}", "Accept-Encoding": "identity"}
    opener = urllib.request.OpenerDirector()  # without handlers for files, FTP and redirects
    web = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler)
    for handler in (*web, urllib.request.UnknownHandler):
        opener.add_handler(handler())
    try:
        return opener.open(urllib.request.Request(address, headers=agent | dict(headers)), timeout=_TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last for invalid addresses
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = f"the server cannot be reached: {str(cause) or type(cause).__name__}"
        if isinstance(cause, _BREAKS):
            raise _BrokenError(reason) from error
        raise DownloadError(url, f"{reason}.") from error


def _check_range(response: http.client.HTTPResponse, offset: int, validator: str) -> int | None:
    """Returns the size of the whole file if a response is everything after ``offset`` of the same version."""
    span = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if span is None:
        return None
    first, last, total = (int(group) for group in span.groups())
    same = _find_validator(response.headers) in (
        None,
        validator,
    )  # a server may support ranges without comparing versions
    length = None if response.chunked else response.headers.get("Content-Length", str(total - offset))
    whole = first == offset and last == total - 1 and length in (None, str(total - offset))
    return total if whole and offset < total and same else None


def _find_validator(headers: Message) -> str | None:
    """Returns what identifies the version of a file, byte for byte; a weak tag does not."""
    tag = headers.get("ETag")
    if tag is not None:
        return None if tag.startswith("W/") else tag
    return headers.get("Last-Modified")


def _begin(
    url: str, response: http.client.HTTPResponse, part: PartialFile, max_bytes: int, progress: Progress | None
) -> None:
    """Receives a whole file."""
    if response.status != 200:
        raise DownloadError(url, f"the server answered {response.status}, not the whole file.")
    length = None if response.chunked else response.headers.get("Content-Length")
    if length is not None and not re.fullmatch(r"\d{1,19}", length, re.ASCII):
        raise DownloadError(url, f"the server states the length {length[:40]!r}, which is not a number.")
    _receive(url, response, part, None if length is None else int(length), max_bytes, progress)


def _receive(
    url: str,
    response: http.client.HTTPResponse,
    part: PartialFile,
    total: int | None,
    max_bytes: int,
    progress: Progress | None,
) -> None:
    """Appends a body to the partial file, and compares its length with what was stated and what is allowed."""
    if total is not None and total > max_bytes:
        raise DownloadError(url, f"the file has {total} bytes, more than max_bytes={max_bytes}.")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise DownloadError(url, f"the server sent it encoded as {encoding!r}, which was not requested.")
    if response.status == 200:
        part.restart(url, _find_validator(response.headers))
    # Without a length the response returns everything until the connection closes, also more than was stated.
    closes, response.length = response.will_close and not response.chunked, None
    end = max_bytes + 1 if total is None else total
    if progress is not None:
        progress(part.size, total)
    while part.size < end:
        data = _read_piece(response, min(_PIECE, end - part.size), part.size, total)
        if not data:
            break
        part.append(data)
        if progress is not None:
            progress(part.size, total)
    if total is None:
        if part.size > max_bytes:
            part.discard()
            raise DownloadError(url, f"more bytes arrived than max_bytes={max_bytes}.")
    elif part.size < total:
        raise _BrokenError(f"{part.size} of {total} bytes arrived before the connection closed")
    elif closes and _has_more(response):
        part.discard()
        raise DownloadError(url, f"more bytes arrived than the {total} that the server stated.")


def _read_piece(response: http.client.HTTPResponse, size: int, done: int, total: int | None) -> bytes:
    try:
        return response.read1(size)
    except (OSError, http.client.HTTPException) as error:
        count = f"{done} bytes" if total is None else f"{done} of {total} bytes"
        raise _BrokenError(
            f"{count} arrived before the connection broke ({str(error) or type(error).__name__})"
        ) from error


def _has_more(response: http.client.HTTPResponse) -> bool:
    try:
        return bool(response.read1(1))
    except (OSError, http.client.HTTPException):  # it did not close cleanly after everything had arrived
        return False
