"""Model names, what is detected, and the store that only counts verified files."""

from __future__ import annotations

import hashlib
import typing
from pathlib import Path

import pytest
from tiny_model import CONTENT, TINY, tiny_store

from meshclaw.errors import LockedError, ProblemsError
from meshclaw.models.catalogue import CATALOGUE, find
from meshclaw.models.detect import SUGGESTED, detect, probe_http
from meshclaw.models.names import resolve_alias, split
from meshclaw.models.store import ModelStore, digest_of


def test_the_catalogue_is_consistent() -> None:
    for model in CATALOGUE:
        assert sum(model.part_size(n) for n in range(1, model.parts + 1)) == model.size
        assert len(model.sha256) == 64
    assert [model.parts for model in CATALOGUE] == [22, 6]
    assert find("local/qwen2.5-coder-0.5b") is find("qwen2.5-coder-0.5b")


def test_an_unknown_local_model_gets_a_suggestion() -> None:
    with pytest.raises(
        ProblemsError, match=r"unknown local model 'qwen2\.5-coder-15b' - did you mean 'qwen2"
    ):
        find("qwen2.5-coder-15b")


def test_splits_at_the_first_slash_only() -> None:
    assert split("openrouter/meta/llama-4") == ("openrouter", "meta/llama-4")
    for wrong in ("gpt", "/gpt", "openai/", ""):
        with pytest.raises(ProblemsError, match="is not a model's name"):
            split(wrong)


def test_aliases_are_followed_to_a_name() -> None:
    aliases = {"default": "fast", "fast": "anthropic/claude-haiku-5-5"}
    assert resolve_alias("default", aliases) == "anthropic/claude-haiku-5-5"
    assert resolve_alias("openai/gpt-6-luna", aliases) == "openai/gpt-6-luna"


def test_an_unknown_alias_and_a_circle_are_problems_with_their_place() -> None:
    with pytest.raises(ProblemsError) as unknown:
        resolve_alias("fasst", {"fast": "a/b"}, ("t.yaml", 2, 8))
    assert str(unknown.value) == "t.yaml:2:8: unknown model 'fasst' - did you mean 'fast'?"
    with pytest.raises(ProblemsError, match="in a circle: a -> b -> a"):
        resolve_alias("a", {"a": "b", "b": "a"})
    with pytest.raises(ProblemsError, match=r"unknown model 'nothing' \(through alias 'fast'\)"):
        resolve_alias("fast", {"fast": "nothing"})


def test_every_suggested_model_is_known_to_its_sdk_and_priced() -> None:
    from anthropic.types.model_param import ModelParam
    from genai_prices import Usage, calc_price
    from openai.types.shared.chat_model import ChatModel

    known = {
        "anthropic": typing.get_args(typing.get_args(ModelParam)[0]),
        "openai": typing.get_args(ChatModel),
    }
    for provider, models in SUGGESTED.items():
        assert set(models) == {"default", "fast", "strong"}
        for model in models.values():
            assert model in known[provider]
            priced = calc_price(Usage(input_tokens=1_000, output_tokens=1_000), model, provider_id=provider)
            assert priced.total_price > 0


def test_a_file_counts_only_with_the_pinned_digest(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    assert store.path("tiny") is None
    target = store.target(TINY)
    target.write_bytes(CONTENT)
    assert store.path("local/tiny") == target
    target.write_bytes(CONTENT[:-1] + b"?")
    assert store.path("tiny") is None
    assert [stored.state for stored in store.list()] == ["damaged"]


def test_only_the_pinned_digest_is_admitted(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    partial = store.partial(TINY)
    partial.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match="not the pinned"):
        store.admit(TINY, partial, digest_of(partial))
    assert not store.target(TINY).exists()
    partial.write_bytes(CONTENT)
    assert store.admit(TINY, partial, digest_of(partial)) == store.target(TINY)


def test_a_verified_file_is_not_hashed_again_until_it_changes(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    target = store.target(TINY)
    target.write_bytes(CONTENT)
    assert store.path("tiny") == target
    sidecar = next(tmp_path.glob("*.verified.json"))
    sidecar.write_bytes(sidecar.read_bytes().replace(TINY.sha256.encode(), b"0" * 64))
    assert store.path("tiny") is None, "the sidecar was believed, so nothing was hashed"
    target.touch()
    assert store.path("tiny") == target, "the file changed, so it was hashed"


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"[]", b"\xff", b'{"sha256": 1}'])
def test_a_broken_sidecar_costs_a_hash_and_nothing_else(tmp_path: Path, rubbish: bytes) -> None:
    store = tiny_store(tmp_path)
    store.target(TINY).write_bytes(CONTENT)
    assert store.path("tiny") is not None
    next(tmp_path.glob("*.verified.json")).write_bytes(rubbish)
    assert store.path("tiny") is not None


def test_remove_deletes_every_trace(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    assert not store.remove("tiny")
    store.target(TINY).write_bytes(CONTENT)
    store.partial(TINY).write_bytes(b"abc")
    assert store.path("tiny") is not None
    assert store.remove("tiny")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_held_by_one_only(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    with store.lock(TINY), pytest.raises(LockedError, match="another process"), store.lock(TINY):
        pass
    with store.lock(TINY):
        pass


def test_digest_of_matches_hashlib_and_tells_of_its_progress(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    told: list[int] = []
    assert digest_of(path, told.append) == hashlib.sha256(CONTENT).hexdigest()
    assert sum(told) == len(CONTENT)


async def test_detects_keys_then_servers_then_the_embedded_model(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    store.target(TINY).write_bytes(CONTENT)
    asked: list[str] = []

    async def probe(url: str) -> list[str] | None:
        asked.append(url)
        return ["text-embedding-x", "qwen3:8b"] if "11434" in url else None

    keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    found = await detect(keys, store, probe=probe)
    assert [one.model for one in found] == [
        "anthropic/claude-sonnet-5-5",
        "openai/gpt-6.1-terra",
        "ollama/qwen3:8b",
        "local/tiny",
    ]
    assert [one.base_url for one in found] == [None, None, "http://127.0.0.1:11434/v1", None]
    assert len(asked) == 3


async def test_detects_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    async def probe(url: str) -> list[str] | None:
        return None

    assert await detect({"ANTHROPIC_API_KEY": ""}, ModelStore(tmp_path / "absent"), probe=probe) == []


async def test_a_probe_lists_models_and_survives_anything_else() -> None:
    from file_server import FileServer

    with FileServer() as server:
        server.files["/v1/models"] = b'{"data": [{"id": "a"}, {"id": "b/c"}]}'
        server.files["/html/models"] = b"<html>"
        server.files["/list/models"] = b"[]"
        server.files["/huge/models"] = b" " * 1_000_000
        assert await probe_http(f"{server.url}/v1", timeout=20) == ["a", "b/c"]
        for wrong in ("html", "list", "huge", "absent"):
            assert await probe_http(f"{server.url}/{wrong}", timeout=20) is None
    assert await probe_http(f"{server.url}/v1", timeout=20) is None, "the port is closed now"
