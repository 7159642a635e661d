"""Task -> Run: opens the run, hands the work to a Runner, and writes down how it ended."""

from meshclaw.dispatch.delegation import Delegation, House, Stop
from meshclaw.dispatch.dispatcher import EXIT_OF_STATUS, Dispatcher
from meshclaw.dispatch.recovery import recover

__all__ = ["EXIT_OF_STATUS", "Delegation", "Dispatcher", "House", "Stop", "recover"]
