"""Where each field of a bulk send is in a header that people wrote.

A column is found by its name without regard to case and outer white space. A column that appears twice, or that two
columns could be, is refused: a guess could text a stranger. A name that the user wrote for a column finds its exact
spelling first.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in

#: A column name with this many digits counts as somebody's number.
_DIGITS_OF_A_NUMBER = 7
#: Names of columns that an error lists.
_MAX_NAMES = 30


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The fields that are read, and their names in the source.

    :param fields: what is read, in order.
    :param names: the name in the source, by field, where the user wrote it: the argument ``columns``.
    :param optional: fields that the source may lack, unless ``names`` has them.
    :param argument: the argument that gave the source, for errors.
    :param advice: how to name the right column, for errors; None if ``columns`` names it.
    """

    fields: Sequence[str]
    names: Mapping[str, str] = field(default_factory=dict)
    optional: Collection[str] = ()
    argument: str = "recipients"
    advice: str | None = None

    def name(self, field: str) -> str:
        """Return the name of a field in the source."""
        return self.names.get(field, field)

    def required(self) -> list[str]:
        """Return the fields that the source must have: also those that ``columns`` names and nothing reads."""
        return [
            *(field for field in self.fields if field not in self.optional or field in self.names),
            *(field for field in self.names if field not in self.fields),
        ]

    def find(self, header: Sequence[object], where: str) -> list[int | None]:
        """Return the position of each field in a header; None for a field that may be missing, and is.

        :param where: the name of the source, for errors.
        :raises PindoConfigurationError: a column is missing, or appears twice.
        """
        for name in self.required():
            if self.position(name, header, where) is None:
                raise PindoConfigurationError(
                    f"{where} has no column {self.name(name)!r}; {self.describe(name, header)}"
                )
        return [self.position(name, header, where) for name in self.fields]

    def position(self, field: str, header: Sequence[object], where: str) -> int | None:
        """Return the position of a field in a header, or None.

        :raises PindoConfigurationError: it appears twice, or two columns could be it.
        """
        column = self.name(field)
        exact = [position for position, name in enumerate(header) if name == column]
        if len(exact) > 1:
            raise PindoConfigurationError(
                f"{where} has the column {column!r} {len(exact)} times, so it is not clear which one counts: rename "
                "or remove the others"
            )
        if exact and field in self.names:
            return exact[0]
        similar = [position for position, name in enumerate(header) if _plain(name) == _plain(column)]
        if len(similar) > 1:
            names = ", ".join(repr(header[position]) for position in similar)
            is_nameable = self.argument == "recipients" and self.advice is None
            or_name = f", or name the right one: columns={{{field!r}: …}}" if is_nameable else ""
            raise PindoConfigurationError(
                f"{where} has more than one column that could be {column!r}: {names}. Rename or remove the others"
                f"{or_name}"
            )
        return similar[0] if similar else None

    def describe(self, field: str, header: Iterable[object], *, has_header: bool = True) -> str:
        """Return what a source has instead of a field, and what to do, in words that name no person.

        :param has_header: the names come from a header line; without one they are the keys of a row.
        """
        names = [str(name) for name in header if name != ""]
        if has_header and any(len(re.sub(r"\D", "", name)) >= _DIGITS_OF_A_NUMBER for name in names):
            return (
                "it seems to have no header line, since there is a number in the first one: put one above it, such "
                "as phonenumber,name"
            )
        shown = mask_numbers_in(", ".join(map(repr, names[:_MAX_NAMES]))) + (
            ", …" if len(names) > _MAX_NAMES else ""
        )
        if len(names) == 1 and "|" in names[0]:
            return f"it has {shown}, which are separated by pipes: save it with commas, semicolons or tabs"
        by_plain = {_plain(name): name for name in names}
        nearest = difflib.get_close_matches(_plain(self.name(field)), by_plain, n=1)
        hint = f"; the nearest is {by_plain[nearest[0]]!r}" if nearest else ""
        return f"it has {shown or 'nothing'}{hint}. {self._how_to_name(field)}"

    def _how_to_name(self, field: str) -> str:
        """Return how to name the right column. ``exclude`` has no argument ``columns``."""
        if self.advice is not None:
            return self.advice
        if self.argument == "recipients":
            return f"Name the right one: columns={{{field!r}: …}}"
        return f"Give the right one of {self.argument} the name {field!r}"


def _plain(name: object) -> str:
    return unicodedata.normalize("NFC", str(name)).strip().strip("\ufeff\u200b").strip().casefold()
