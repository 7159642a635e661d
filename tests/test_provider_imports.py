"""Importing the providers costs no SDK."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import meshclaw.providers.anthropic, meshclaw.providers.openai_chat, meshclaw.providers.openai_responses
import meshclaw.providers.replay, meshclaw.providers.retrying
print(sorted({"anthropic", "openai", "httpx2", "httpx", "pydantic"} & sys.modules.keys()))
meshclaw.providers.anthropic.preload()
meshclaw.providers.openai_chat.preload()
meshclaw.providers.openai_responses.preload()
print("anthropic" in sys.modules and "openai" in sys.modules)
"""


def test_sdks_are_imported_only_by_preload() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.split() == ["[]", "True"]
