"""Who must not be texted, whatever the task: the numbers on the connection's ``suppression_list``.

Each try that may send reads the list again. A list that cannot be read stops the send, since somebody on it has opted
out. Functions import what reads files where they use it: parsing a DAG loads none of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import VARIABLE_PREFIX
from airflow_provider_pindo.api.phone import mask_numbers_in, mask_phone_number
from airflow_provider_pindo.api.redaction import mask_error

if TYPE_CHECKING:
    from airflow_provider_pindo.hooks._settings import PindoSettings


def read_suppression_list(settings: PindoSettings) -> frozenset[str]:
    """Return the numbers that the connection's tasks must not text, in E.164; none where it names no list.

    :raises PindoConfigurationError: the list has a line that is not a number, or its Variable does not exist.
    :raises AirflowException: it cannot be read now: the file is missing, or its storage failed. A retry may help.
    """
    source = settings.suppression_list
    if source is None:
        return frozenset()
    from airflow_provider_pindo._sources.numbers import read_numbers

    name = _name(source)
    try:
        is_variable = source.startswith(VARIABLE_PREFIX)
        numbers = _read_variable(source.removeprefix(VARIABLE_PREFIX), name) if is_variable else source
        return read_numbers(numbers, settings.country, name)
    except PindoConfigurationError:
        raise
    except FileNotFoundError:
        where = "" if "://" in source else " on this worker"
        raise AirflowException(
            f"the connection's {name} does not exist{where}, and nothing was sent. Put the file there, or name another "
            "list in the connection"
        ) from None
    except Exception as error:  # every storage has its own
        raise AirflowException(
            f"the connection's {name} cannot be read, and nothing was sent ({mask_error(error)}). Make it readable "
            "for the worker, or name another list in the connection"
        ) from None


def skip_if_suppressed(settings: PindoSettings, number: str) -> None:
    """Skip the task that would text ``number``, if it is on the connection's list.

    :param number: in E.164.
    :raises AirflowSkipException: it is.
    """
    if number in read_suppression_list(settings):
        raise AirflowSkipException(
            f"Nothing is sent to {mask_phone_number(number)}: the number is on the connection's "
            f"{_name(settings.suppression_list)}"
        )


def _name(source: str | None) -> str:
    """Return what an error calls the list."""
    from airflow_provider_pindo._sources.files import address_of

    return f"suppression_list {mask_numbers_in(address_of(source or ''))!r}"


def _read_variable(variable: str, name: str) -> object:
    """Return what a Variable holds: a JSON list, or a number in each line."""
    from airflow.providers.common.compat.sdk import Variable

    value = Variable.get(variable, None)
    as_list = 'Write a list such as ["+2507XXXXXXXX"], or one number in each line'
    if value is None or not value.strip():
        what = f"there is no Variable {variable!r}" if value is None else "the Variable is empty"
        raise _unreadable(name, f"{what}. Write [] into it for an empty list")
    if not value.lstrip().startswith(("[", "{")):
        return value.splitlines()
    try:
        numbers = json.loads(value)
    except ValueError:
        raise _unreadable(name, f"the Variable is not JSON. {as_list}") from None
    if isinstance(numbers, dict):
        raise _unreadable(name, f"the Variable holds an object. {as_list}")
    return numbers


def _unreadable(name: str, why: str) -> PindoConfigurationError:
    return PindoConfigurationError(f"the connection's {name} cannot be read, and nothing was sent: {why}")
