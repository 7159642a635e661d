"""What works on this machine, what does not, and what to do about it.

Nothing is spent, nothing but the cache is written, and nobody but servers on this machine is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshclaw.app.doctor.findings import Finding, Look, State, examine

__all__ = ["Finding", "Look", "State", "defences", "essentials", "examine"]


def essentials() -> Mapping[str, Look]:
    """The checks of what tasks need."""
    from meshclaw.app.doctor import files, machine, models, sandbox

    return {
        "versions": machine.versions,
        "settings": files.settings,
        "models": models.models,
        "sandbox": sandbox.sandboxes,
        "trust": files.trust,
        "ledger": files.ledger,
        "runs": files.runs,
        "cron": machine.cron,
        "git": machine.git,
    }


def defences() -> Mapping[str, Look]:
    """The checks of what keeps others, and a model's commands, in their place."""
    from meshclaw.app.doctor import files, safety, sandbox

    return {
        "sandbox": sandbox.sandboxes,
        "process": safety.process,
        "ceiling": safety.ceiling,
        "settings": safety.settings,
        "keys": safety.keys,
        "ledger": files.ledger,
        "store": safety.store,
        "trust": files.trust,
        "path": safety.path,
    }
