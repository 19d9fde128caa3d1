"""Fixtures of the notifier's tests."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog
