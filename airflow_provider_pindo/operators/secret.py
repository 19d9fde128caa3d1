"""An operator's argument that Airflow renders like any other and shows to nobody.

Airflow saves a task's rendered fields in its database before ``execute`` and shows them in its UI, so masking
there comes too late; a field that is not templated, on the other hand, loses the dependency of an XCom. A
:class:`PrivateArg` in the field's place keeps both: what is in it can be referred to and rendered, and wherever
Airflow writes the field down (the serialized DAG, the rendered fields, a log) it says ``***``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XComArg

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import Context

MASK = "***"


class PrivateArg(XComArg):
    """A value under a mask, or what it will be rendered from.

    It is an ``XComArg``, so that Airflow finds the tasks upstream.

    :param value: what the author of the DAG gave, or, once rendered, what came out of it.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def reveal(self) -> Any:
        """Return what is under the mask."""
        return self._value

    def iter_references(self) -> Iterator[tuple[Any, str]]:
        """Yield the upstream tasks that the value comes from."""
        yield from XComArg.iter_xcom_references(self._value)

    def resolve(self, context: Any, **_: Any) -> PrivateArg:
        """Stay masked: an operator renders its private fields itself, by :func:`render_private`."""
        return self

    def serialize(self) -> str:
        """Return the mask, for the serialized DAG and the rendered fields."""
        return MASK

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return MASK


def render_private(
    operator: Any, field: str, context: Context, jinja_env: jinja2.Environment, seen_oids: set[int]
) -> None:
    """Render a field as Airflow does, and put the result under a mask.

    :param seen_oids: ids of values that are no templates, such as those that a mapped task was expanded with.
    """
    given = getattr(operator, field)
    value = given.reveal() if isinstance(given, PrivateArg) else given
    rendered = operator.render_template(value, context, jinja_env, seen_oids)
    setattr(operator, field, PrivateArg(rendered))
