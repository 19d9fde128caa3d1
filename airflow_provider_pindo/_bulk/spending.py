"""What a bulk send costs, and when it must stop for that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_pindo.api.errors import PindoCostLimitError, PindoError, PindoInsufficientBalanceError


@dataclass(slots=True)
class Spending:
    """What a send costs, and when it must stop for that.

    :param min_balance: USD that must stay in the wallet, or None.
    :param max_cost: USD that the whole send may cost, over all tries, or None.
    :param price: USD for one segment, as the last receipt said; an estimate before the first.
    :param is_price_known: whether a receipt has come, of this try or an earlier one.
    :param balance: USD in the wallet, as Pindo said last, or None.
    :param lowest_balance: USD that the wallet holds at least: the lowest that Pindo said, since receipts may come late,
        less what requests may have cost after which it did not say. A top-up counts from the next try on.
    :param unseen: USD that all requests may have cost whose receipt names no balance, or whose outcome is unknown.
    :param spent: USD that were spent; those of unknown outcome count as spent.
    :param reserved: segments of the requests in flight.
    """

    min_balance: float | None = None
    max_cost: float | None = None
    price: float = 0.0
    is_price_known: bool = False
    balance: float | None = None
    lowest_balance: float = math.inf
    unseen: float = 0.0
    spent: float = 0.0
    reserved: int = 0

    @property
    def awaits_price(self) -> bool:
        """Whether there is a limit, and the price is an estimate."""
        has_limit = self.min_balance is not None or self.max_cost is not None
        return has_limit and not self.is_price_known

    def note_balance(self, balance: float, unseen_before: float = 0.0) -> None:
        """Note what Pindo says of the wallet.

        :param unseen_before: :attr:`unseen` when the request began. What was added since may not be in the balance.
        """
        self.balance = balance
        self.lowest_balance = min(self.lowest_balance, balance - (self.unseen - unseen_before))

    def add_cost(self, cost: float, *, is_seen: bool) -> None:
        """Count a request as spent.

        :param is_seen: whether its receipt names the balance, which has the cost in it.
        """
        self.spent += cost
        if not is_seen:
            self.unseen += cost
            self.lowest_balance -= cost

    def problem(self, segments: int = 0) -> PindoError | None:
        """Return why nothing more may be sent.

        :param segments: those in flight or next.
        """
        cost = segments * self.price
        # Rounded, since sums of prices are not exact: 100 times 0.006 is more than 0.6.
        if self.min_balance is not None and round(self.lowest_balance - cost, 6) < self.min_balance:
            return PindoInsufficientBalanceError(
                f"the wallet holds {self.lowest_balance:,.3f} USD, and the messages in flight or next cost {cost:,.3f} "
                f"USD, which leaves less than min_balance={self.min_balance:,.2f}: top it up, or lower min_balance"
            )
        if self.max_cost is not None and round(self.spent + cost, 6) > self.max_cost:
            return PindoCostLimitError(
                f"{self.spent:,.3f} USD were spent, and the messages in flight or next cost {cost:,.3f} USD, which is "
                f"over max_cost={self.max_cost:,.2f}: raise max_cost and clear the task, which continues the send"
            )
        return None
