"""Files: opened through Airflow's ``ObjectStoragePath``, on this machine or in a bucket.

Each error names the file and says what to do.
"""

from __future__ import annotations

import errno
import io
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in
from airflow_provider_pindo.api.redaction import mask_error

#: First bytes of files that are not text, whatever their name says.
_NOT_TEXT = {
    b"PK\x03\x04": (
        "an Excel workbook",
        "let its name end in .xlsx (the extra airflow-provider-pindo[excel] reads it), or save it as CSV UTF-8",
    ),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook, or one with a password", "save it as CSV UTF-8"),
    b"PAR1": ("a Parquet file", "let its name end in .parquet"),
    b"\x1f\x8b": ("compressed with gzip", "decompress it first"),
}
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")

#: Schemes of one store that has several.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs"}
#: Bytes of a file that are read at a time.
_BUFFER = 256 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file, and the argument that named it.

    :param path: path or URL.
    :param argument: the name of the argument.
    :param sheet: the sheet of an Excel workbook; None for the first.
    """

    path: str
    argument: str = "recipients"
    sheet: str | None = None

    @property
    def name(self) -> str:
        """Its name without the folder, for errors."""
        return address_of(self.path).rstrip("/").rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """What its name ends in, such as ``.csv``."""
        name = self.path.rstrip("/").rsplit("/", 1)[-1]
        return f".{name.rsplit('.', 1)[-1].lower()}" if "." in name else ""


def storage_path(path: str) -> Any:
    """Return ``path`` as an ``ObjectStoragePath``, whose methods have no types."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)


def would_overwrite(target: str, source: str) -> bool:
    """Return whether a file written to ``target`` would replace ``source``, or a file in it if that is a folder.

    On this machine links are followed. In a bucket the connection makes no difference.
    """
    try:
        written, read = storage_path(target), storage_path(source)
        if is_local(written) and is_local(read):
            file, other = (Path(place.path).expanduser().resolve() for place in (written, read))
            if file.exists() and other.exists() and file.samefile(other):
                return True
        elif _SCHEMES.get(written.protocol, written.protocol) == _SCHEMES.get(read.protocol, read.protocol):
            file, other = Path(posixpath.normpath(written.path)), Path(posixpath.normpath(read.path))
        else:
            return False
    except (OSError, RuntimeError, ValueError, ImportError):  # one of them cannot be opened either
        return False
    return file == other or other in file.parents


def is_local(path: Any) -> bool:
    """Return whether a path of :func:`storage_path` is on this machine."""
    return path.protocol in ("", "file", "local")


@contextmanager
def refuse_odd_paths(file: File) -> Iterator[None]:
    """Refuse a path that can be no file's: an unknown scheme, a zero byte, a folder. No retry would find one there."""
    try:
        yield
    except (ValueError, ImportError, IsADirectoryError) as error:
        reason = "it is a folder" if isinstance(error, IsADirectoryError) else mask_error(error)
        package = ", and install what reads it, such as apache-airflow-providers-amazon[s3fs] for s3://"
        what = file.argument if _address(file) in file.argument else f"{file.argument} {_address(file)}"
        raise PindoConfigurationError(
            f"{what} cannot be opened ({reason}): give the path or URL of a file"
            f"{package if '://' in file.path else ''}"
        ) from None


@contextmanager
def open_binary(file: File, target: Any = None) -> Iterator[Any]:
    """Open a file for reading bytes.

    An error shows no number in a path. What a retry cannot fix is a :class:`PindoConfigurationError`, also
    while the file is being read.

    :param target: the path to open, if ``file`` is a folder: one of the files in it.
    """
    try:
        with refuse_odd_paths(file):
            source = (target if target is not None else storage_path(file.path)).open("rb")
        with source as opened:
            yield opened
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and error.errno != errno.ENAMETOOLONG:
            if error.filename is not None:
                error.filename = mask_numbers_in(str(error.filename))
            raise
        raise _missing(file) from None
    except UnicodeError:
        raise PindoConfigurationError(
            f"{file.name} is not encoded in UTF-8: save it as UTF-8 (Excel calls it CSV UTF-8)"
        ) from None


@contextmanager
def open_text(file: File) -> Iterator[io.TextIOWrapper]:
    """Open a file of text: UTF-8, or UTF-16 with a byte order mark, which Excel calls Unicode Text."""
    with open_binary(file) as raw:
        head = raw.read(4)
        for magic, (what, advice) in _NOT_TEXT.items():
            if head.startswith(magic):
                raise PindoConfigurationError(f"{file.name} is {what}, and not text: {advice}")
        is_utf16 = head.startswith(_BYTE_ORDER_MARKS)
        if b"\0" in head and not is_utf16:
            raise PindoConfigurationError(
                f"{file.name} has zero bytes in it, as UTF-16 without a byte order mark does: save it as UTF-8"
            )
        raw.seek(0)
        buffered = io.BufferedReader(_Bytes(raw), _BUFFER)
        with io.TextIOWrapper(buffered, "utf-16" if is_utf16 else "utf-8-sig", newline="") as text:
            yield text


class _Bytes(io.RawIOBase):
    """The bytes of an open file. Each line asks whether it is closed, which Airflow's own file answers slowly."""

    def __init__(self, opened: Any) -> None:
        self._read = opened.read

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as ``buffer`` holds, or what is left."""
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _missing(file: File) -> Exception:
    """Return the error for a file that is not there; it may come later, unless the text is no path at all."""
    if "/" in file.path or file.suffix:
        return FileNotFoundError(
            f"there is no file {_address(file)}, which {file.argument} names: put it there, "
            "or give the path of another"
        )
    return PindoConfigurationError(
        f"{file.argument} is {shown(file.path)}, and there is no file of this name: give the numbers as a list, even "
        "a single one, or the path of a file"
    )


def _address(file: File) -> str:
    return repr(mask_numbers_in(address_of(file.path)))


def shown(value: object) -> str:
    """Return a value for an error: not all of a long one, no number, and no secret of an address."""
    return mask_numbers_in(repr(address_of(value) if isinstance(value, str) else value))[:80]


def address_of(path: str) -> str:
    """Return a path or URL for an error: a URL without its credentials and its query, which may be a signature."""
    if "://" not in path:
        return path
    return re.sub(r"(?<=://)[^/@]*@", "", path).partition("?")[0]
