"""Recordings of runs, beside their tasks: the model's side, played back against the task as it is today.

A recording is a file of JSON lines. The first one holds what the run began with and how it ended, the
others are its transcript; secrets are redacted in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field
from difflib import unified_diff
from pathlib import Path
from typing import Any, Literal

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.runs import Event, encode_line, read_transcript

FORMAT = 1
HEAD = "recording"
SUFFIX = ".recording.jsonl"
MAX_FILE = 256 * 1024
"""Bytes of a file whose content is recorded."""

_VARYING = (
    (re.compile(r"\b\d+(?:\.\d+)?(?= ?(?:ms|s|sec|seconds)\b)"), "N"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0xN"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?"), "TIME"),
)
"""What differs from one execution of a command to the next, and says nothing."""


PROJECT, RUN, HOME = (f"@MESHCLAW_{name}@" for name in ("PROJECT", "RUN", "HOME"))
"""What stands in a recording for folders that lie elsewhere on the next machine or in another checkout."""


class Places:
    """Where those folders are here, by path; one may have several."""

    def __init__(self, words: Mapping[Path, str]) -> None:
        self._words = {str(path): word for path, word in words.items() if len(path.parts) > 1}
        longest = sorted(self._words, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, longest))})(?![\w-])")

    def named(self, data: Any) -> Any:
        """Text, or what JSON can hold, with the words for the paths."""
        if not self._words:
            return data
        return _mapped(data, lambda text: self._pattern.sub(lambda found: self._words[found[0]], text))


def located(data: Any, paths: Mapping[str, Path]) -> Any:
    """The reverse: with the paths for the words."""

    def change(text: str) -> str:
        for word, path in paths.items():
            text = text.replace(word, str(path))
        return text

    return _mapped(data, change)


def _mapped(data: Any, change: Callable[[str], str]) -> Any:
    if isinstance(data, str):
        return change(data)
    if isinstance(data, Mapping):
        return {key: _mapped(value, change) for key, value in data.items()}
    return [_mapped(one, change) for one in data] if isinstance(data, list | tuple) else data


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """An input as the prompt held it; `cut` says which end of it was missing."""

    text: str
    cut: Literal["", "beginning", "end"] = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """`files` are the project's files that the run read or changed, as they were before; None: not there.

    Folders of whoever made it are words (see Places). `models` are those of the attempts, `judges` those
    that checks asked, by the name in the task; `end` is the run's record, as far as a replay is compared
    with it.
    """

    task: str
    params: Mapping[str, str]
    inputs: Mapping[str, RecordedInput]
    files: Mapping[str, str | None]
    models: Sequence[str]
    end: Mapping[str, Any]
    events: Sequence[Event] = field(default=())
    judges: Mapping[str, str] = field(default_factory=dict)


def recording_of(task_path: Path) -> Path:
    """Where a task's recording lies: beside its file."""
    return task_path.with_name(task_path.stem + SUFFIX)


def end_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's record a replay is compared with."""
    return {key: record[key] for key in ("status", "outcome", "result", "checks", "denied", "attempts")}


def touched(events: Iterable[Event]) -> list[str]:
    """The paths that a run's file tools were given, in order, each once."""
    found: dict[str, None] = {}
    for event in events:
        if event.kind == "tool-start":
            try:
                path = json.loads(event.data["arguments"]).get("path")
            except (ValueError, AttributeError):
                continue
            if isinstance(path, str):
                found[path] = None
    return list(found)


def write_recording(path: Path, recording: Recording) -> None:
    """Replaces the file in one step. Raises OSError."""
    head = {key: value for key, value in asdict(recording).items() if key != "events"}
    lines = [Event(HEAD, {"format": FORMAT, **head}), *recording.events]
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(b"".join(map(encode_line, lines)))
    draft.replace(path)


def read_recording(path: Path) -> Recording:
    """Raises ProblemsError for a file that is not there, or not a recording."""
    try:
        head, *events = read_transcript(path)
        if head.kind != HEAD or head.data["format"] != FORMAT:
            raise ValueError
        data = head.data
        return Recording(
            task=data["task"],
            params=data["params"],
            inputs={name: _read_input(one) for name, one in data["inputs"].items()},
            files=data["files"],
            models=data["models"],
            end=data["end"],
            events=tuple(events),
            judges=data.get("judges", {}),
        )
    except FileNotFoundError:
        hint = f"`meshclaw run {path.name.removesuffix(SUFFIX)} --record` makes one"
        raise ProblemsError([Problem(str(path), 0, 0, "there is no recording", hint)]) from None
    except OSError as error:
        raise ProblemsError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        message = "this is not a recording that this version can read"
        raise ProblemsError([Problem(str(path), 1, 1, message, "record it again")]) from None


def _read_input(data: Mapping[str, Any]) -> RecordedInput:
    # Earlier versions wrote only that it was cut.
    return RecordedInput(data["text"], data.get("cut", "end" if data.get("truncated") else ""))


def drift(recording: Recording, events: Sequence[Event], record: Mapping[str, Any], places: Places) -> str:
    """How today's run differs from the recorded one, as a diff; "" when it does not.

    Compared are the system text, the prompt, the tools, each call and its result, what the model was told,
    the checks, and the end. Times and addresses in outputs do not count, nor where today's `places` are.
    """
    before = places.named([*_lines(recording.events), *_end_lines(recording.end)])
    now = places.named([*_lines(events), *_end_lines(end_of(record))])
    return "\n".join(unified_diff(before, now, "recorded", "today", lineterm="", n=3))


def _lines(events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        yield from (_steady(line) for line in _event_lines(event))


def _event_lines(event: Event) -> Iterator[str]:
    data = event.data
    match event.kind:
        case "start":
            yield f"runner: {data['runner']}"
            yield f"tools: {', '.join(data['tools'])}"
            yield from _block("system", data["system"])
            yield from _block("prompt", data["prompt"])
            if data["schema"] is not None:
                yield from _block("schema", json.dumps(data["schema"], indent=1, sort_keys=True))
        case "response":
            for part in data["response"]["message"]["parts"]:
                if "text" in part:
                    yield from _block("model", part["text"])
                elif "tool_call" in part:
                    yield f"call {part['name']} {part['arguments']}"
        case "tool-result":
            yield from _block("error" if data["is_error"] else "result", data["content"])
        case "notice" | "attempt":
            yield from _block("told", data["text"])
        case "check":
            yield f"check {data['check']}: {data['status']} {data['reason']}".rstrip()
        case "compaction":
            yield "older outputs were left out"
        case _:
            pass


def _end_lines(end: Mapping[str, Any]) -> Iterator[str]:
    yield f"status: {end['status']}"
    yield f"outcome: {end['outcome']}"
    result = end["result"]
    yield from _block("answer", result if isinstance(result, str) else json.dumps(result, sort_keys=True))
    for denied in end["denied"]:
        yield f"denied: {denied}"


def _block(name: str, text: str) -> Iterator[str]:
    yield f"{name}:"
    yield from (f"  {line}" for line in text.splitlines())


def _steady(line: str) -> str:
    for pattern, instead in _VARYING:
        line = pattern.sub(instead, line)
    return line
