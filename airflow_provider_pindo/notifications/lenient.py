"""Templates that lose nothing for a name that is not there."""

from __future__ import annotations

from typing import Any

from jinja2 import ChainableUndefined


class Missing(ChainableUndefined):
    """What a missing name is in a template: ``?`` as text, also its attributes, items and method calls."""

    def __str__(self) -> str:
        return "?"

    def __call__(self, *args: Any, **kwargs: Any) -> Missing:  # type: ignore[override]
        return self
