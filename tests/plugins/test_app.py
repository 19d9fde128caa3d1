"""The app that the API server mounts."""

from __future__ import annotations

from fastapi.testclient import TestClient

from airflow_provider_pindo.plugins._app import SECURITY_HEADERS, create_app


def test_it_shows_no_documentation_of_itself_and_every_response_has_the_security_headers():
    client = TestClient(create_app())
    for path in ("/docs", "/redoc", "/openapi.json", "/webhooks/pindo_default"):
        response = client.get(path)
        assert response.status_code == 404
        assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
