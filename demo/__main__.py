"""Text tomorrow's patients once and show what arrived; ``python -m demo up`` leaves everything running.

Ends with 0 only when the phones have exactly what the appointments ask for. Ctrl-C, at any time, stops
everything that was started.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import NoReturn

import requests

from demo.deployment import EXAMPLE_DAGS, Deployment
from demo.reminders import DAG_ID, run_once

#: What the UI shows of the DAG that answers, and the ID by which all else knows it.
ROUTER_NAME, ROUTER_ID = "Pindo: answer incoming messages", "pindo_inbound_router"

_started = time.monotonic()


def say(line: str) -> None:
    """Print a line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _started:5.1f} s] {line}", flush=True)


def demo() -> None:
    """Run the reminders once and stop."""
    with Deployment(progress=say, keep_logs=True) as deployment:
        say("All of it is up")
        run_once(deployment, say)
        say("Stopping everything")
    say("Stopped")
    print("\nTo look around in Airflow's UI, see the phones and send more: make up")


def up() -> NoReturn:
    """Run everything until Ctrl-C."""
    by_the_clock = {  # as in any Airflow: what is switched on runs by its schedule, and at first nothing is
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    }
    with Deployment(
        settings=by_the_clock, web_port=8080, sandbox_port=8025, progress=say, keep_logs=True
    ) as deployment:
        deployment.rest.wait_for_dag(DAG_ID)
        print(
            f"""
  Airflow   {deployment.url}/dags/{DAG_ID}
            user {deployment.username}, password {deployment.password}
  Phones    {deployment.sandbox.url}/
  DAGs      {EXAMPLE_DAGS}, read again when they change

  Press "Trigger" on a DAG and watch the phones. Its first trigger switches it on; one with a schedule then runs by
  that as well, at once for the last moment of its schedule.
  "{ROUTER_NAME}" ({ROUTER_ID}, Airflow 3.3) answers what you type on a phone, if it has a
  number in it, such as BALANCE 0781234567: switch it on.
  The connection pindo_default is in Airflow's environment, so Admin > Connections does not list it.
  Ctrl-C stops everything and forgets it.
""",
            flush=True,
        )
        while True:
            time.sleep(1)
            deployment.check()


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["up"], help="leave everything running (default: run once)"
    )
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)  # as on Ctrl-C
    try:
        up() if parser.parse_args().what == "up" else demo()
    except KeyboardInterrupt:
        say("Interrupted; everything is stopped")
        return 130
    except (RuntimeError, TimeoutError, requests.RequestException) as error:
        say(f"It did not work: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
