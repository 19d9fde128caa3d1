"""The worst case of the throttle, forced: every process has read the names before an older failure appears in them.

The oldest failure should be texted. So the processes take the time of their failure together. Then they write it in
turn, the youngest first. Each reads the names before the next one writes. So each first believes that its own failure
is the oldest, and only the second reading tells it otherwise.
"""

from __future__ import annotations

import time
from typing import Any


class Race:
    """What the processes share. Pass it to each of them.

    :param forks: the context that starts them.
    :param processes: how many there are.
    """

    def __init__(self, forks: Any, processes: int) -> None:
        self._start = forks.Barrier(processes)
        self._times_taken = forks.Barrier(processes)
        self._times = forks.Array("q", processes)
        self._turn = forks.Value("i", 0)

    def join(self, index: int) -> None:
        """Let the throttle of this process run the race.

        :param index: this process among the others, from 0.
        """
        from airflow_provider_pindo.notifications._throttle import VariableStore
        from airflow_provider_pindo.notifications.sms import PindoNotifier

        notify, write, names = PindoNotifier.notify, VariableStore.write, VariableStore.names

        def notify_together(notifier: Any, context: Any) -> None:
            self._start.wait()  # before the time limit of the alert begins
            notify(notifier, context)

        def write_in_turn(store: Any, name: str, value: str) -> None:
            if ".failure." in name:
                self._times[index] = int(name.split(".")[3])
                self._times_taken.wait()
                self._wait_until(self._position(index))
            elif ".sent." in name:
                self._wait_until(len(self._times))
            write(store, name, value)

        def names_in_turn(store: Any, prefix: str) -> Any:
            found = names(store, prefix)
            if self._turn.value == self._position(index):
                self._turn.value += 1
            return found

        PindoNotifier.notify = notify_together  # type: ignore[method-assign]
        VariableStore.write, VariableStore.names = write_in_turn, names_in_turn  # type: ignore[method-assign]

    def _position(self, index: int) -> int:
        """Return when it is this process's turn: the youngest failure is the first."""
        order = sorted(range(len(self._times)), key=lambda each: (self._times[each], each), reverse=True)
        return order.index(index)

    def _wait_until(self, turn: int) -> None:
        while self._turn.value < turn:
            time.sleep(0.002)
