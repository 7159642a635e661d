"""Answers from a recorded transcript, in the order in which they were given: no network, no cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.lowlevel

from meshclaw.errors import FailureKind, Problem, ProblemsError, ProviderError
from meshclaw.messages import Request, Response, Text, decode_response, request_digest
from meshclaw.providers.base import Sink
from meshclaw.runs import is_judges, read_transcript


class ReplayProvider:
    """Plays back the responses of a run's `transcript.jsonl`.

    `strict` compares each request's digest with the recorded one, so a replay under another model name,
    prompt or output limit is refused. The file is read at once; raises ProblemsError when it is missing or
    not a transcript. `model` is the model id that was asked when it was recorded. `judges` plays back what
    the checks' judges answered instead of the worker; `adapt` may change what a response says, when it is
    played.
    """

    name = "replay"
    overhead_tokens = 0
    free = True

    def __init__(
        self,
        path: Path,
        *,
        strict: bool = False,
        judges: bool = False,
        adapt: Callable[[Any], Any] = lambda response: response,
    ) -> None:
        self._path = path
        self._judges = judges
        self._strict = strict
        self._played = 0
        self._adapt = adapt
        self._recorded: list[tuple[Any, str | None]] = []
        self.nudge = False
        self.model = ""
        self._load()

    def window(self, model: str) -> int | None:
        return None

    async def complete(self, request: Request, sink: Sink) -> Response:
        """The next recorded response; its text comes as one delta."""
        await anyio.lowlevel.checkpoint()
        if self._played == len(self._recorded):
            raise ProviderError(
                FailureKind.INVALID_REQUEST,
                f"replay: the recording has no more responses: {self._path} has {self._played}",
                hint="the run went another way than the recorded one; record it again",
            )
        recorded, digest = self._recorded[self._played]
        if self._strict and digest is not None and digest != request_digest(request):
            raise ProviderError(
                FailureKind.INVALID_REQUEST,
                f"replay: request {self._played + 1} is not the one that was recorded in {self._path}",
                hint="the task, its inputs, the model or the prompt have changed; record it again",
            )
        self._played += 1
        response = decode_response(self._adapt(recorded))
        if response.response_id is not None:
            sink.response_id(response.response_id)
        for part in response.message.parts:
            if isinstance(part, Text):
                sink.text(part.text)
        sink.usage(response.usage)
        return response

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _load(self) -> None:
        digests: dict[str, str] = {}
        try:
            for event in read_transcript(self._path):
                if event.kind == "start":
                    self.model = event.data.get("model", "")
                    self.nudge = self.nudge or bool(event.data.get("nudge", False))
                elif event.kind == "request":
                    digests[event.data["call"]] = event.data["digest"]
                elif event.kind == "response" and is_judges(event.data["call"]) == self._judges:
                    decode_response(event.data["response"])
                    self._recorded.append((event.data["response"], digests.get(event.data["call"])))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ProblemsError([Problem(str(self._path), 0, 0, f"cannot be read: {reason}")]) from error
        except (KeyError, TypeError, ValueError) as error:
            problem = Problem(str(self._path), 0, 0, "this transcript holds a response that is not whole")
            raise ProblemsError([problem]) from error
