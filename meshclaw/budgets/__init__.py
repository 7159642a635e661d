"""Limits of runs, and the reservations that keep their calls inside them."""

from meshclaw.budgets.budget import BATCH_USD, NO_LIMITS, Budget
from meshclaw.budgets.meter import BudgetMeter, CallBound, Reservation

__all__ = ["BATCH_USD", "NO_LIMITS", "Budget", "BudgetMeter", "CallBound", "Reservation"]
