"""The only door to money: reserve, call, settle."""

from meshclaw.metering.entries import (
    call_usage,
    response_cost,
    settled_call,
    timestamp,
    total_cost,
    total_usage,
)
from meshclaw.metering.metered import CallContext, Metered

__all__ = [
    "CallContext",
    "Metered",
    "call_usage",
    "response_cost",
    "settled_call",
    "timestamp",
    "total_cost",
    "total_usage",
]
