"""What a cluster takes of Postgres and Redis, it gives back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from demo.cluster import (
    REDIS_NUMBERS,
    ROOT,
    give_back_redis_number,
    postgres,
    redis_url,
    server_url,
    take_redis_number,
)
from demo.rest import wait_until


def test_a_number_of_redis_is_taken_when_it_is_empty_and_given_back_empty(services):
    redis = pytest.importorskip("redis").Redis
    urls = [take_redis_number("ours"), take_redis_number("theirs")]
    ours, theirs = map(redis.from_url, urls)
    with ours, theirs:
        try:
            assert urls[0] != urls[1]
            ours.set("a message", "of Celery")
            give_back_redis_number(urls[1], "ours")
            assert theirs.dbsize() == 1  # this number is taken by another cluster
            give_back_redis_number(urls[0], "ours")
            assert ours.dbsize() == 0
        finally:
            give_back_redis_number(urls[0], "ours")
            give_back_redis_number(urls[1], "theirs")
        assert theirs.dbsize() == 0


START = """
import signal
from pathlib import Path
from demo.cluster import Cluster
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for a pytest in the background
cluster = Cluster(Path("."))
print(cluster.database_url.database, flush=True)
with cluster:
    pass
"""


def test_a_start_that_is_interrupted_leaves_nothing_behind(services, tmp_path):
    from redis import Redis

    def database_is_there() -> bool:
        with postgres(server_url()) as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            return cursor.fetchone() is not None

    def number_is_taken() -> bool:
        return any(
            Redis.from_url(url, decode_responses=True).get("pindo-cluster") == database.rpartition("_")[2]
            for url in map(redis_url, REDIS_NUMBERS)
        )

    starting = subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the traceback of the interruption
        text=True,
    )
    try:
        database = starting.stdout.readline().strip()
        wait_until(database_is_there, "its database is there", timeout=60)
        assert number_is_taken()
    finally:
        starting.send_signal(signal.SIGINT)
        try:
            starting.communicate(timeout=120)
        finally:
            starting.kill()  # does nothing to a process that has ended
    assert not database_is_there()
    assert not number_is_taken()
    assert list(tmp_path.iterdir()) == []
