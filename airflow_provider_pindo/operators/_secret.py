"""A templated argument whose value Airflow never shows.

Airflow stores a task's rendered fields before ``execute`` and shows them in its UI, so masking in ``execute`` is too
late. A field that is not templated would lose its dependency on an XCom. A :class:`PrivateArg` as the field's value
avoids both. Airflow renders it and finds its upstream tasks, but stores ``***`` in the serialized DAG, the rendered
fields and logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XComArg

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import Context

_MASK = "***"


class PrivateArg(XComArg):
    """A masked value, or the template or XCom of one.

    It is an ``XComArg``, so that Airflow finds the upstream tasks.

    :param value: the argument as the DAG gives it, later as rendered.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def reveal(self) -> Any:
        """Return the value."""
        return self._value

    def iter_references(self) -> Iterator[tuple[Any, str]]:
        """Yield the upstream tasks that the value comes from."""
        yield from XComArg.iter_xcom_references(self._value)

    def resolve(self, context: Any, **_: Any) -> PrivateArg:
        """Return itself: an operator renders its private fields with :func:`render_private`."""
        return self

    def serialize(self) -> str:
        """Return the mask, for the serialized DAG and the rendered fields."""
        return _MASK

    def __str__(self) -> str:
        return _MASK

    def __repr__(self) -> str:
        return _MASK


def render_private(
    operator: Any, field: str, context: Context, jinja_env: jinja2.Environment, seen_oids: set[int]
) -> None:
    """Render a field as Airflow does, and mask the result.

    :param seen_oids: ids of values that Airflow does not render, such as those of a mapped task's ``expand``.
    """
    value = getattr(operator, field)
    if isinstance(value, PrivateArg):
        value = value.reveal()
    rendered = operator.render_template(value, context, jinja_env, seen_oids)
    setattr(operator, field, PrivateArg(rendered))
