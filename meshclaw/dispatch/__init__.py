"""Task -> Run: opens the run, hands the work to a Runner, and writes down how it ended."""

from meshclaw.dispatch.attempts import EXIT_OF_STATUS, job_of
from meshclaw.dispatch.delegation import Delegation, House, Isolation, RecordTo, Rung, Stop
from meshclaw.dispatch.delivery import deliver_accepted
from meshclaw.dispatch.dispatcher import Dispatcher
from meshclaw.dispatch.recovery import give_up, recover
from meshclaw.dispatch.resuming import may_resume
from meshclaw.dispatch.reuse import AcceptedWork

__all__ = [
    "EXIT_OF_STATUS",
    "AcceptedWork",
    "Delegation",
    "Dispatcher",
    "House",
    "Isolation",
    "RecordTo",
    "Rung",
    "Stop",
    "deliver_accepted",
    "give_up",
    "job_of",
    "may_resume",
    "recover",
]
