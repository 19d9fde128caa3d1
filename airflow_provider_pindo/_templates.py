"""Rendering that keeps text as text, whatever the DAG's ``render_template_as_native_obj``.

Jinja's native types turn ``"+250781234567"`` into a number and ``"1,500"`` into a tuple. The arguments of this provider
are text, so their templates are rendered in an environment without native types. A string without a template is not
rendered. What an upstream task returned keeps its type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from jinja2.nativetypes import NativeEnvironment

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.definitions._internal.templater import Templater
    from jinja2 import Environment
else:
    Templater = object


class TextTemplater(Templater):
    """Mixin for a class that Airflow renders. The Jinja environment, not the DAG, decides about native types."""

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render ``content`` as Airflow does. In an environment without native types, a template gives text."""
        if (
            not isinstance(content, str)
            or jinja_env is None
            or isinstance(jinja_env, NativeEnvironment)
            or id(content) in (seen_oids or ())
        ):
            return super().render_template(content, context, jinja_env, seen_oids)
        if content.endswith(tuple(self.template_ext)):
            template = jinja_env.get_template(content)
        elif has_template(content, jinja_env):
            template = jinja_env.from_string(content)
        else:
            return content
        return template.render(dict(context.items()))


class TextFields(TextTemplater):
    """Mixin for operators and sensors: their templated fields give text."""

    #: Fields that may hold a list. If the field is a template, ``render_template_as_native_obj`` decides whether it
    #: gives a list.
    native_fields: Collection[str] = ()

    if TYPE_CHECKING:

        def get_dag(self) -> Any:
            """Return the DAG of the task, or None."""

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Environment,
        seen_oids: set[int],
    ) -> None:
        # Airflow renders here for plain and for mapped tasks alike.
        if getattr(self, "render_template_as_native_obj", None) is not None:
            jinja_env = self.get_template_env()  # Airflow passes the DAG's, but the task has its own setting
        text_env = self._text_env(jinja_env)
        for field in template_fields:
            is_native = field in self.native_fields and has_template(getattr(parent, field), jinja_env)
            env = jinja_env if is_native else text_env
            super()._do_render_template_fields(parent, [field], context, env, seen_oids)

    def _text_env(self, jinja_env: Environment) -> Environment:
        dag = self.get_dag() if isinstance(jinja_env, NativeEnvironment) else None
        return jinja_env if dag is None else dag.get_template_env(force_sandboxed=True)


def has_template(value: Any, env: Environment) -> bool:
    """Return whether ``value`` is a string that contains a template, by the delimiters of ``env``."""
    marks = (
        env.variable_start_string,
        env.block_start_string,
        env.comment_start_string,
        env.line_statement_prefix,
        env.line_comment_prefix,
    )
    return isinstance(value, str) and any(mark in value for mark in marks if mark)
