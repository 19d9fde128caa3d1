"""Text tomorrow's patients once and show their phones; ``python -m demo up`` keeps everything running.

The exit code is 0 only if the phones have exactly the expected messages. Ctrl-C stops everything at any time.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import NoReturn

import requests

from demo.deployment import AIRFLOW_RELEASE, EXAMPLE_DAGS, VIEWER, Deployment
from demo.reminders import DAG_ID, lose_a_response, run_once

#: The name and the ID of the DAG that replies to messages.
ROUTER_NAME, ROUTER_ID = "Pindo: answer incoming messages", "pindo_inbound_router"
#: The name of the DAG that waits for delivery.
DELIVERY_NAME = "Pindo: follow up on delivery"

_started = time.monotonic()


def say(line: str) -> None:
    """Print a progress line, with the seconds since the start."""
    print(f"[{time.monotonic() - _started:5.1f} s] {line}", flush=True)


def demo() -> None:
    """Run the reminders once, and stop everything."""
    with Deployment(progress=say, keep_logs=True) as deployment:
        say("Airflow and the sandbox are running")
        run_once(deployment, say)
        say("Stopping everything")
    say("Stopped")
    print("\nTo explore Airflow's UI, see the phones and send more messages: make up")


def up() -> NoReturn:
    """Run everything until Ctrl-C."""
    with_schedules = {  # as in any Airflow: DAGs are paused at first, and then run on their schedules
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    }
    with Deployment(
        settings=with_schedules,
        webhooks=True,
        web_port=8080,
        sandbox_port=8025,
        progress=say,
        keep_logs=True,
    ) as deployment:
        deployment.rest.wait_for_dag(DAG_ID)
        if AIRFLOW_RELEASE >= (3, 3):
            say("Texting tomorrow's patients, and losing one of Pindo's responses")
            lose_a_response(deployment)
        print(what_runs(deployment, AIRFLOW_RELEASE), flush=True)
        while True:
            time.sleep(1)
            deployment.check()


def what_runs(deployment: Deployment, airflow: tuple[int, ...]) -> str:
    """Return what is where, and what to try. Each line holds on this Airflow.

    :param airflow: its major and minor version.
    """
    lines = f"""
  Airflow   {deployment.url}/dags/{DAG_ID}
            user {deployment.username}, password {deployment.password}
"""
    if airflow >= (3, 0):
        lines += f"""\
            user {VIEWER}, password {deployment.viewer_password}: sees everything and changes nothing
"""
    if airflow >= (3, 1):
        lines += f"""\
  Pindo     {deployment.url}/plugin/pindo
"""
    if airflow >= (3, 3):
        lines += """\
            One message may or may not have arrived, so its task asks. The page links to the question.
            Answer it, and the run goes on. Switch on "Responses get lost" on the phones' page, and it asks again. The
            webhooks "sent" are switched off in the sandbox, since with them no person is needed.
"""
    elif airflow >= (3, 1):
        lines += """\
            It has the addresses of the webhooks. Before Airflow 3.3 it shows no messages.
"""
    lines += f"""\
  Phones    {deployment.sandbox.url}/
  DAGs      {EXAMPLE_DAGS}, reloaded after a change

  Press "Trigger" on a DAG and watch the phones. The first trigger also switches the DAG on. A DAG with a schedule then
  runs on its schedule, and starts its latest scheduled run at once.
"""
    if airflow >= (3, 3):
        lines += f"""\
  Switch on "{ROUTER_NAME}" ({ROUTER_ID}). It replies to messages that you type
  on a phone, if they contain a number, such as BALANCE 0781234567.
"""
    if airflow >= (3, 1):
        lines += f"""\
  The sandbox's webhooks come back to Airflow, so "{DELIVERY_NAME}" sees the ticks of the phones.
"""
    return f"""{lines}\
  The connection pindo_default is set in Airflow's environment, so Admin > Connections does not list it.
  Ctrl-C stops everything and deletes its data.
"""


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["up"], help="keep everything running (default: run once and stop)"
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as on Ctrl-C
    try:
        up() if parser.parse_args().what == "up" else demo()
    except KeyboardInterrupt:
        say("Interrupted; everything is stopped")
        return 130
    except (RuntimeError, TimeoutError, requests.RequestException) as error:
        say(f"The demo failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
