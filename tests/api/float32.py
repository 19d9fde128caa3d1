"""A float of 32 bits, as numpy has one."""

from __future__ import annotations

import math
import numbers
import struct


class Float32:
    """Stands for ``numpy.float32``: a real number that is no Python float, and shows its own few digits."""

    def __init__(self, value: float) -> None:
        (self.value,) = struct.unpack("f", struct.pack("f", value))

    def __float__(self) -> float:
        return float(self.value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, Float32) else other))

    __hash__ = None  # type: ignore[assignment]

    def __floor__(self) -> int:
        return math.floor(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __str__(self) -> str:
        return f"{self.value:.7g}"


numbers.Real.register(Float32)
