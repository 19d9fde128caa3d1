"""The page's routes under ``/pindo/ui``: its files, and the JSON that it asks for.

Every route authenticates its caller before it looks anything up. A person sees the DAGs that Airflow lets them read. To
settle, they need the permission to edit the task instance. Phone numbers come in a body, never in an address, since
the access log prints addresses. Routes that change or search data accept only JSON from the page's own origin.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.providers.common.compat.sdk import BaseHook, conf
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_pindo._metrics import count_settled
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID
from airflow_provider_pindo.plugins import _models
from airflow_provider_pindo.plugins._body import read_text
from airflow_provider_pindo.plugins._connections import team_of
from airflow_provider_pindo.plugins._delivery import add_deliveries, count_delivered
from airflow_provider_pindo.plugins._models import TaskKey, Window
from airflow_provider_pindo.plugins._overview import MAX_ENTRIES, WINDOWS, overview, run_summary
from airflow_provider_pindo.plugins._people import find_number, list_people
from airflow_provider_pindo.plugins._settle import Decision, SettleError, settle
from airflow_provider_pindo.plugins._setup import setup

_STATIC = Path(__file__).parent / "static"
_FILES = {"page.css": "text/css", "page.js": "text/javascript"}
#: Scripts, styles and requests of this origin alone, and no frame but Airflow's.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}
#: Most messages that a person settles one by one at a time, and bytes of a request: room for as many.
_MAX_DECISIONS, _MAX_BODY = 1000, 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)
_WindowName = Literal["1h", "24h", "7d", "30d"]
#: What the column holds: a larger number is an error of the database.
_MapIndex = Annotated[int, Field(ge=-1, lt=2**31)]


def _require_own_page(request: Request) -> None:
    """Refuse what another site makes a browser send.

    :raises HTTPException: 415 if it is not JSON; 403 if it comes from another origin.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON")
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        raise HTTPException(403, "this request comes from another site")
    if site is None and origin is not None and urlsplit(origin).netloc not in _own_hosts(request):
        raise HTTPException(403, "this request comes from another origin")


def _own_hosts(request: Request) -> set[str]:
    """Return the hosts of this Airflow: of the request, which a proxy may replace, and of ``[api] base_url``."""
    base_url = conf.get("api", "base_url", fallback="") or ""
    return {request.headers.get("host", ""), urlsplit(base_url).netloc} - {""}


def _readable_dags(user: GetUserDep) -> set[str]:
    """Return the DAGs that a person may read."""
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def _require_tasks_readable(user: GetUserDep) -> None:
    """Refuse a person who may not read task instances, as Airflow's own lists over all DAGs do."""
    if not get_auth_manager().is_authorized_dag(
        method="GET", access_entity=DagAccessEntity.TASK_INSTANCE, user=user
    ):
        raise HTTPException(403, "you may not read task instances")


def _require_store(_: GetUserDep) -> None:
    """Refuse a request that needs the task state store. The page does not ask for it on an older Airflow."""
    if not _models.has_store():
        raise HTTPException(404, "Airflow keeps no record of what was sent before 3.3")


router = APIRouter(prefix="/ui", dependencies=[Depends(get_user)])
_OwnPage = Depends(_require_own_page)
_TasksReadable = Depends(_require_tasks_readable)
_Store = Depends(_require_store)
_ReadableDags = Annotated[set[str], Depends(_readable_dags)]


class _TaskBody(BaseModel):
    """A task instance in the body of a request."""

    model_config = ConfigDict(extra="forbid")

    dag_id: str
    run_id: str
    task_id: str
    map_index: _MapIndex = -1

    def task(self) -> TaskKey:
        """Return its key."""
        return TaskKey(self.dag_id, self.run_id, self.task_id, self.map_index)


class _List(_TaskBody):
    ending: str = Field("", pattern=r"^[0-9]{0,15}$")
    outcome: Literal["", "accepted", "rejected", "unknown", "not_sent", "expired"] = ""
    start: str = Field("", max_length=512)
    skip: int = Field(0, ge=0)


class _Search(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: str = Field(max_length=100)
    window: _WindowName = "24h"


class _Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=512)
    row: int | None = None
    arrived: bool


class _Settle(_TaskBody):
    decisions: list[_Decision] = Field([], max_length=_MAX_DECISIONS)
    everybody: bool | None = None
    seen: AwareDatetime


def _body(model: type[Model]) -> Any:
    """Return the dependency that reads a body. FastAPI would read one before it authenticates the caller."""

    async def read(request: Request, _: GetUserDep) -> Model:
        text = await read_text(request, _MAX_BODY)
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise HTTPException(422, f"{where}: {first['msg']}" if where else first["msg"]) from None

    return Depends(read)


_ListBody = Annotated[_List, _body(_List)]
_SearchBody = Annotated[_Search, _body(_Search)]
_SettleBody = Annotated[_Settle, _body(_Settle)]


@router.get("/")
def read_page() -> Response:
    """Return the page."""
    return _file("index.html", "text/html")


@router.get("/{name}")
def read_file(name: str) -> Response:
    """Return a script or a style of the page."""
    if name not in _FILES:
        raise HTTPException(404, "there is no such file")
    return _file(name, _FILES[name])


def _file(name: str, media_type: str) -> Response:
    return Response((_STATIC / name).read_bytes(), media_type=media_type, headers=_PAGE_HEADERS)


@router.get("/api/overview", dependencies=[_TasksReadable])
def read_overview(
    request: Request,
    user: GetUserDep,
    session: SessionDep,
    dag_ids: _ReadableDags,
    window: _WindowName = "24h",
) -> dict[str, Any]:
    """Return what the page shows first."""
    if not _models.has_store():
        return {"has_store": False}
    now = datetime.now(UTC)
    value = overview(session, Window(dag_ids, since=now - WINDOWS[window][0]), now, window)
    return {"has_store": True, **_with_permissions(value, request, user)}


@router.get("/api/run")
def read_run(
    request: Request,
    user: GetUserDep,
    session: SessionDep,
    dag_ids: _ReadableDags,
    dag_id: str,
    run_id: str,
    task_id: str | None = None,
    map_index: _MapIndex = -1,
) -> dict[str, Any]:
    """Return what the tab of a run, or of a task instance, shows."""
    _require_readable(dag_id, dag_ids, request, user)
    if not _models.has_store():
        return {"has_store": False}
    task = None if task_id is None else (task_id, map_index)
    value = run_summary(session, Window({dag_id}, run=(dag_id, run_id), task=task))
    return {"has_store": True, **_with_permissions(value, request, user)}


@router.get("/api/delivery")
def read_delivery(
    request: Request,
    user: GetUserDep,
    session: SessionDep,
    dag_ids: _ReadableDags,
    window: _WindowName = "24h",
    dag_id: str | None = None,
    run_id: str = "",
    task_id: str | None = None,
    map_index: _MapIndex = -1,
) -> dict[str, Any] | None:
    """Return how many messages of a window, a run or a task were delivered; null without webhooks."""
    if not _models.has_store():
        return None
    if dag_id is None:
        _require_tasks_readable(user)
        within = Window(dag_ids, since=datetime.now(UTC) - WINDOWS[window][0])
    else:
        _require_readable(dag_id, dag_ids, request, user)
        within = Window(
            {dag_id}, run=(dag_id, run_id), task=None if task_id is None else (task_id, map_index)
        )
    return count_delivered(session, within, MAX_ENTRIES)


@router.post("/api/people", dependencies=[_OwnPage, _Store])
def read_people(
    request: Request, body: _ListBody, user: GetUserDep, session: SessionDep, dag_ids: _ReadableDags
) -> dict[str, Any]:
    """Return one page of everybody of a task."""
    _require_readable(body.dag_id, dag_ids, request, user)
    window = Window({body.dag_id}, run=(body.dag_id, body.run_id), task=(body.task_id, body.map_index))
    response = list_people(
        session, window, ending=body.ending, outcome=body.outcome, start=body.start, skip=body.skip
    )
    return {**response, "has_deliveries": add_deliveries(response["people"])}


@router.post("/api/search", dependencies=[_OwnPage, _TasksReadable, _Store])
def search(body: _SearchBody, session: SessionDep, dag_ids: _ReadableDags) -> dict[str, Any]:
    """Return what was sent to a phone number. The number is not kept."""
    window = Window(dag_ids, since=datetime.now(UTC) - WINDOWS[body.window][0])
    try:
        response = find_number(session, window, body.number, _country())
    except PindoConfigurationError as error:
        raise HTTPException(400, str(error)) from None
    return {**response, "has_deliveries": add_deliveries(response["matches"])}


@router.post("/api/settle", dependencies=[_OwnPage, _Store])
def settle_messages(
    request: Request, body: _SettleBody, user: GetUserDep, session: SessionDep, dag_ids: _ReadableDags
) -> dict[str, int]:
    """Record whether messages arrived. The page then clears the task through Airflow's own API."""
    _require_readable(body.dag_id, dag_ids, request, user)
    _require_editor(body.dag_id, request, user)
    decisions = [Decision(decision.key, decision.row, decision.arrived) for decision in body.decisions]
    try:
        counts = settle(session, body.task(), decisions, body.everybody, seen=body.seen, user=user.get_name())
    except _models.NoTaskError:
        raise HTTPException(404, "there is no such task instance") from None
    except SettleError as error:
        raise HTTPException(409, str(error)) from None
    session.commit()
    count_settled("page", counts["arrived"] + counts["not_arrived"])
    return counts


@router.get("/api/setup")
def read_setup(user: GetUserDep, session: SessionDep) -> dict[str, Any]:
    """Return the webhook addresses, to those who may edit connections."""
    manager = get_auth_manager()
    if not manager.is_authorized_connection(method="PUT", user=user):
        raise HTTPException(403, "you may not edit connections")

    def may_edit(conn_id: str) -> bool:
        team = team_of(conn_id)
        details = ConnectionDetails(conn_id=conn_id, **({"team_name": team} if team else {}))
        return manager.is_authorized_connection(method="PUT", details=details, user=user)

    return setup(session, may_edit)


def _require_readable(dag_id: str, dag_ids: set[str], request: Request, user: Any) -> None:
    """Refuse a person who may not read a DAG and its task instances, as Airflow's own view of the state store does."""
    if dag_id not in dag_ids:
        raise HTTPException(403, "you may not read this DAG")
    requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE, dag_id)(request, user)


def _require_editor(dag_id: str, request: Request, user: Any) -> None:
    """Refuse a person who may not edit the task instances of a DAG, as Airflow's own clear does."""
    requires_access_dag("PUT", DagAccessEntity.TASK_INSTANCE, dag_id)(request, user)


def _with_permissions(value: dict[str, Any], request: Request, user: Any) -> dict[str, Any]:
    """Add to each task that needs a person whether this person may settle it."""
    may: dict[str, bool] = {}
    for task in value["unknown"]:
        dag_id = task["dag_id"]
        if dag_id not in may:
            try:
                _require_editor(dag_id, request, user)
                may[dag_id] = True
            except HTTPException:
                may[dag_id] = False
        task["can_settle"] = may[dag_id]
    return value


def _country() -> str | None:
    """Return the country whose national numbers the default connection takes; None without one."""
    try:
        country = BaseHook.get_connection(DEFAULT_CONN_ID).extra_dejson.get("country")
    except Exception:  # the connection may be known to the workers alone
        return None
    return country if isinstance(country, str) else None
