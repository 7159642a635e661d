"""A real llama.cpp server on loopback, in a process of its own, with the embedded model's weights.

It speaks OpenAI's Chat Completions and Responses and Anthropic's Messages::

    with LlamaServer(weights_of()) as server:
        environment = {"OPENAI_BASE_URL": server.openai_url, "ANTHROPIC_BASE_URL": server.url}

It ends when its standard input is closed, so it cannot outlive a test that was killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from conftest import MODELS_VARIABLE

from meshclaw.models.store import ModelStore

TESTED = "qwen2.5-coder-0.5b"
"""The small one: what the tests ask for does not need more, and takes a third of the time."""

SERVE = """
import os, sys
os.environ["GOMP_SPINCOUNT"] = "1000"
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.model_alias = {sys.argv[2]}
parameters.n_ctx = int(sys.argv[3])
parameters.n_parallel = 1
parameters.verbosity = -1
parameters.warmup = False
# Beside other tests, threads that wait for each other take longer than one.
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""

START = 180
"""Seconds that loading may take on a machine under load."""


def weights_of(name: str = TESTED) -> Path:
    """The model's verified file, or the test is skipped, saying how to get it."""
    folder = os.environ.get(MODELS_VARIABLE)
    if not folder:
        pytest.skip(f"{name}: {MODELS_VARIABLE} names no folder with the embedded model's weights")
    path = ModelStore(Path(folder)).path(name)
    if path is None:
        pytest.skip(f"{name} is not in {folder}; fetch it with: meshclaw models pull {name}")
    return path


class LlamaServer:
    """`url` is the root, `openai_url` ends in /v1, `model` is the id that it lists."""

    def __init__(self, weights: Path, *, model: str = "qwen", window: int = 16_384) -> None:
        self.model = model
        self._arguments = [str(weights), model, str(window)]
        self.url = ""

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START)
        self.url = self._process.stdout.readline().decode().strip() if ready else ""
        if not self.url.startswith("http"):
            self._process.kill()
            said = self._process.communicate()[1].decode(errors="replace")
            raise RuntimeError(f"the llama.cpp server did not start: {said[-2_000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
