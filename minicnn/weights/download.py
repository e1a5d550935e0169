"""Downloading published weights: what is there already is not fetched again, and only the right bytes are kept.

The bytes go to `<file>.part`, from where an interrupted download goes on (HTTP `Range`); the file gets its name only
when its SHA-256 begins as published. pooch manages the cache folder and moves the finished file into it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from minicnn.errors import MissingPackageError, WeightsError
from minicnn.files import cannot_write
from minicnn.weights.published import ADDRESS, published

BLOCK = 2**16
ATTEMPTS = 3  # at most, while each brings something
SLOWEST = 512  # bytes a second, over the time that a stall may last
HINT = "check the connection, or fetch the file in another way and give it to `minicnn weights import`"


class Fetchable(Protocol):
    """A file that can be fetched."""

    @property
    def file(self) -> str:
        """Its name."""
        ...

    @property
    def sha256(self) -> str:
        """The beginning of its SHA-256, in hexadecimal digits."""
        ...

    @property
    def most_bytes(self) -> int:
        """What it cannot exceed."""
        ...


def cache_folder() -> Path:
    """The folder of downloaded weights: `$MINICNN_CACHE`, or the system's cache, and `weights` in it."""
    return Path(os.environ.get("MINICNN_CACHE") or _pooch().os_cache("minicnn")) / "weights"


def _pooch() -> Any:
    try:
        import pooch
        import requests  # noqa: F401 # pooch downloads by it
    except ImportError:
        raise MissingPackageError(
            "pooch, which downloads weights, is not installed", called="download", hint="pip install pooch"
        ) from None
    return pooch


def download(
    name: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    address: str = ADDRESS,
    timeout: float = 30.0,
    show: bool | None = None,
) -> Path:
    """Fetch torchvision's published weights, unless they are in the folder already.

    Parameters
    ----------
    name : str
        "resnet18", ...: see `minicnn.weights.published.PUBLISHED`.
    folder : path, optional
        `cache_folder()`.
    address : str
        Where the files are; a mirror has to have the same files, by their SHA-256.
    timeout : float
        Seconds without a sign of the server (or with hardly any data) after which it is given up.
    show : bool, optional
        Show a progress bar; None: if stderr is a terminal.

    Returns
    -------
    Path
        Of the `.pth` file, whose checksum was compared.

    Raises
    ------
    WeightsError
        If the server cannot be reached, says no, stops, or sends other bytes.
    """
    return fetch(published(name), address, folder=folder, timeout=timeout, show=show)


def fetch(
    item: Fetchable,
    address: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
    show: bool | None = None,
) -> Path:
    """Fetch a file whose SHA-256 is known; arguments, result and errors as for `download`."""
    pooch = _pooch()
    folder = Path(folder) if folder is not None else cache_folder()
    target = folder / item.file
    if target.is_file() and sha256_of(target).startswith(item.sha256):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # damaged since: pooch would take it as it is
    except OSError as error:
        raise cannot_write(folder, error) from None
    pooch.get_logger().setLevel("WARNING")
    url = address.rstrip("/") + "/" + item.file
    downloader = _Fetch(item, target.with_name(f"{item.file}.part"), timeout, show)
    return Path(pooch.retrieve(url, known_hash=None, fname=item.file, path=folder, downloader=downloader))


class _Fetch:
    """A downloader for pooch, which calls it with the address and where the bytes are to go."""

    def __init__(self, item: Fetchable, part: Path, timeout: float, show: bool | None) -> None:
        self.item, self.part, self.timeout, self.show = item, part, timeout, show

    def __call__(self, url: str, output_file: Any, _: Any) -> None:
        for attempt in range(ATTEMPTS):
            before = self._size()
            try:
                self._once(url)
                break
            except _CutOffError as error:
                if attempt == ATTEMPTS - 1 or self._size() <= before:
                    raise WeightsError(
                        str(error),
                        called=url,
                        seen=f"{self._size():,} bytes are kept in {self.part}",
                        hint="run it again: it goes on from there",
                    ) from None
        found = sha256_of(self.part)
        if not found.startswith(self.item.sha256):
            size = self._size()
            self.part.unlink()
            raise WeightsError(
                "the server sent other bytes than the published ones, which were thrown away",
                called=url,
                seen=f"{size:,} bytes, SHA-256 {found[:16]}...",
                rule=f"SHA-256 {self.item.sha256}...",
                hint="run it again; if that does not help, the server, or one on the way to it, is at fault",
            )
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _once(self, url: str) -> None:
        """One request; appends to what is there if the server takes part in that."""
        import requests

        start = self._size()
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with requests.Session() as session:
            session.max_redirects = 5
            try:
                with session.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
                    if answer.status_code == 416 and start:  # nothing after what we have: whole, or not the same file
                        if not sha256_of(self.part).startswith(self.item.sha256):
                            self.part.unlink()
                            self._once(url)
                        return
                    if answer.status_code not in (200, 206):
                        raise WeightsError(
                            "the server does not give the file",
                            called=url,
                            seen=f"status {answer.status_code} {answer.reason}"[:80],
                            hint=HINT,
                        )
                    start, total = _extent(answer, start, url)
                    if total > self.item.most_bytes:
                        raise self._too_large(url, total)
                    self._receive(answer, start, total, url)
            except requests.exceptions.TooManyRedirects:
                raise WeightsError("the server sends us from place to place", called=url, hint=HINT) from None
            except (requests.exceptions.ConnectTimeout, requests.exceptions.ConnectionError) as error:
                if self._size() > start:
                    raise _CutOffError("the connection broke") from None
                raise WeightsError(
                    "the server cannot be reached (no network?)", called=url, seen=_reason(error), hint=HINT
                ) from None
            except requests.exceptions.Timeout:
                raise _CutOffError(f"the server does not answer (for {self.timeout:g} seconds)") from None
            except requests.exceptions.RequestException as error:
                raise WeightsError("the download failed", called=url, seen=_reason(error), hint=HINT) from None

    def _receive(self, answer: Any, start: int, total: int, url: str) -> None:
        """Write what arrives; `total` is 0 if the server does not say it."""
        from tqdm import tqdm
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        size, since, until = start, start, time.monotonic() + self.timeout
        disable = None if self.show is None else not self.show
        try:
            with (
                open(self.part, "ab" if start else "wb") as file,
                tqdm(
                    total=total or None,
                    initial=start,
                    desc=self.item.file,
                    unit="B",
                    unit_scale=True,
                    disable=disable,
                    leave=False,
                    file=sys.stderr,
                ) as bar,
            ):
                while block := _read(answer.raw):
                    size += len(block)
                    if size > (total or self.item.most_bytes):
                        raise self._too_large(url, size)
                    file.write(block)
                    bar.update(len(block))
                    now = time.monotonic()
                    if now > until:
                        if size - since < SLOWEST * self.timeout:
                            raise _CutOffError(f"the server hardly sends anything (for {self.timeout:g} seconds)")
                        since, until = size, now + self.timeout
                file.flush()
                os.fsync(file.fileno())
        except (ReadTimeoutError, TimeoutError):
            raise _CutOffError(f"the server stopped sending (for {self.timeout:g} seconds)") from None
        except HTTPError:
            raise _CutOffError("the connection broke") from None
        except OSError as error:
            raise cannot_write(self.part, error) from None
        if total and size != total:
            raise _CutOffError(f"the connection broke after {size:,} of {total:,} bytes")

    def _too_large(self, url: str, size: int) -> WeightsError:
        self.part.unlink(missing_ok=True)
        return WeightsError(
            "the server sends more than the published file",
            called=url,
            seen=f"{size:,} bytes",
            rule=f"at most {self.item.most_bytes:,}",
            hint=HINT,
        )


class _CutOffError(Exception):
    """The download stopped before its end; what has come is kept."""


def _read(raw: Any) -> bytes:
    """What has arrived, without waiting for a whole block: so a server that drips is noticed."""
    read_some: Callable[..., bytes] = getattr(raw, "read1", raw.read)
    return read_some(BLOCK)


def _extent(answer: Any, start: int, url: str) -> tuple[int, int]:
    """Where this answer begins in the file, and how long the file is (0: the server does not say)."""
    if answer.status_code == 206:
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise WeightsError(
                "the server continues at another place than it was asked to",
                called=url,
                seen=answer.headers.get("Content-Range", "")[:60],
                rule=f"bytes {start}-",
            )
        return start, int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else 0


def _reason(error: Exception) -> str:
    """The innermost cause in a few words."""
    cause: Any = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    return " ".join(str(cause).split()).rpartition(": ")[2][:120]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError("the file cannot be read", called=os.fspath(path), seen=error.strerror or "") from None
