"""Where checked rows wait for the sender: a file without a name, or memory while they are few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile

import msgspec

#: Bytes of the spool that stay in memory; what is larger goes to the disk.
_SPOOL_MEMORY = 4_000_000


class SpooledBlock(msgspec.Struct, array_like=True):
    """Rows of the spool: what the sender and the report need of them.

    :param first: number of the first row, from 1.
    :param problems: why a row is bad, by its position.
    :param numbering: the number of each row; empty where they are consecutive.
    """

    first: int
    problems: dict[int, str]
    numbers: list[str]
    names: list[str]
    texts: list[str] | None
    numbering: list[int] = []

    @property
    def rows(self) -> Sequence[int]:
        """The number of each row."""
        return self.numbering or range(self.first, self.first + len(self.numbers))


class Spool:
    """Checked rows in an unlinked temporary file, and in memory as long as they are few.

    The file has no name, so neither an error nor a kill leaves numbers and texts on the disk.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_SPOOL_MEMORY)  # noqa: SIM115 - closed by close()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(SpooledBlock).decode

    def append(self, block: SpooledBlock) -> bytes:
        """Write a block; return its bytes without the reasons, whose words may differ in another version."""
        content = self._encode(block)
        self._file.write(len(content).to_bytes(4, "big"))
        self._file.write(content)
        return self._encode(msgspec.structs.replace(block, problems={})) if block.problems else content

    def blocks(self) -> Iterator[SpooledBlock]:
        """Read all blocks, from the first on."""
        self._file.seek(0)
        while size := self._file.read(4):
            yield self._decode(self._file.read(int.from_bytes(size, "big")))

    def close(self) -> None:
        """Free the memory or the disk."""
        self._file.close()
