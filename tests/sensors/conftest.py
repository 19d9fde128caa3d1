"""What the tests of the sensor share."""

from __future__ import annotations

import threading
import time

import pytest

from tests.sensors.waiting_task import MODES, PHONE


@pytest.fixture(params=MODES)
def mode(request):
    return MODES[request.param]


@pytest.fixture
def reply_after_reads(sandbox):
    """Text the account once the inbound list was read ``reads`` times."""

    def start(text, reads=2):
        def reply():
            while len(sandbox.requests(call="list_inbound_sms")) < reads:
                time.sleep(0.05)
            sandbox.reply(PHONE, text)

        threading.Thread(target=reply, daemon=True).start()

    return start
