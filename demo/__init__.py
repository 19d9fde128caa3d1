"""Run Airflow and the sandbox together on this machine, without any setup.

``python -m demo`` texts tomorrow's patients once and shows the messages on their phones. ``python -m demo up``
keeps everything running, so that you can look around. The end-to-end tests start Airflow in the same way.
"""
