"""A private git-dir: objects of our own beside those of the user's that it borrows.

No agent can reach it, it has no work tree, and git is only ever shown objects in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from threading import get_ident
from typing import IO, BinaryIO

from anyio import from_thread

from meshclaw.errors import WorkError
from meshclaw.frozen import dataclass
from meshclaw.isolation.git import Git
from meshclaw.isolation.repository import FILE, PROGRAM, Blob, parse_tree
from meshclaw.isolation.trees import CHUNK, remove_tree

LISTING = "listing"
"""All files that the copy began with."""
UNCOMMITTED = "uncommitted"
"""Those of them that HEAD does not hold like that."""


@dataclass(frozen=True, slots=True)
class Store:
    """The git-dir at `git.git_dir`, with objects of `object_format` (sha1 or sha256)."""

    git: Git
    object_format: str

    @property
    def folder(self) -> Path:
        assert self.git.git_dir is not None
        return self.git.git_dir

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    @classmethod
    def make(cls, git: Git, folder: Path, object_format: str, borrowed: Sequence[Path]) -> Store:
        """A new one in `folder`, which is made."""
        folder.mkdir(mode=0o700)
        here = git.within(folder)
        here.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")
        store = cls(here, object_format)
        borrow(store.objects, borrowed)
        return store

    def put(self, file: BinaryIO, size: int, *, keep: bool, also: BinaryIO | None = None) -> str:
        """The name that git gives to the `size` bytes of `file`. `keep` stores them here; `also` gets them.

        Raises WorkError when the file is shorter or longer than that.
        """
        digest = hashlib.new(self.object_format, usedforsecurity=False)
        header = b"blob %d\0" % size
        digest.update(header)
        packer = zlib.compressobj(1)
        draft = self.folder / f"draft-{os.getpid()}-{get_ident()}"
        with open(draft, "wb") if keep else contextlib.nullcontext() as packed:
            if packed:
                packed.write(packer.compress(header))
            left = size
            while left >= 0 and (chunk := file.read(min(CHUNK, left + 1))):
                from_thread.check_cancelled()
                left -= len(chunk)
                digest.update(chunk)
                if packed:
                    packed.write(packer.compress(chunk))
                if also:
                    also.write(chunk)
            if packed:
                packed.write(packer.flush())
        if left:
            raise WorkError(f"{file.name} was changed while it was read", hint="try again")
        oid = digest.hexdigest()
        if keep:
            place = self.objects / oid[:2]
            place.mkdir(exist_ok=True)
            draft.replace(place / oid[2:])
        return oid

    def put_bytes(self, data: bytes) -> str:
        """The same for what is in memory; it is stored."""
        return self.put(BytesIO(data), len(data), keep=True)

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        with self.git.talk("cat-file", "--batch") as (asking, answers):
            yield Reader(asking, answers)

    def contents(
        self, files: Mapping[str, Blob], paths: Iterable[str], most: int
    ) -> dict[str, bytes | None]:
        """What those of `paths` hold that are files here; None for one that is not. Longer ones than `most`
        bytes are left out."""
        found: dict[str, bytes | None] = {}
        with self.reader() as reader:
            for path in paths:
                blob = files.get(path)
                data = None if blob is None or blob.mode not in (FILE, PROGRAM) else reader.read(blob.oid)
                if data is None or len(data) <= most:
                    found[path] = data
        return found

    def entries(self, tree: str) -> dict[str, Blob]:
        """What a tree holds, by path."""
        return dict(parse_tree(self.git.run("ls-tree", "-r", "-z", "--full-tree", tree)))

    def tree(self, entries: Mapping[str, Blob]) -> str:
        """The name of a tree with these entries. Raises GitError for names that no tree may hold."""
        index = self.folder / "our-index"
        index.unlink(missing_ok=True)
        writing = self.git.within(self.folder, None, index)
        writing.run("update-index", "-z", "--index-info", stdin=b"".join(_lines(entries)))
        oid = writing.run("write-tree").decode().strip()
        index.unlink(missing_ok=True)
        return oid

    def write_listing(self, entries: Mapping[str, Blob], name: str = LISTING) -> None:
        """Writes down what a tree holds, by path, whether or not its objects are here."""
        (self.folder / name).write_bytes(b"".join(_lines(entries)))

    def read_listing(self, name: str = LISTING) -> dict[str, Blob]:
        """What `write_listing` wrote. Raises OSError."""
        found = {}
        for line in (self.folder / name).read_bytes().split(b"\0")[:-1]:
            fields, _, path = line.partition(b"\t")
            mode, oid = fields.decode("ascii").split(" ")
            found[os.fsdecode(path)] = Blob(mode, oid)
        return found

    def listing_digest(self) -> str:
        """SHA-256 of what `write_listing` wrote. Raises OSError."""
        return hashlib.sha256((self.folder / LISTING).read_bytes()).hexdigest()

    @staticmethod
    def release(folder: Path) -> None:
        """Makes the store at `folder` borrow no more, and keep of its own objects only the packed ones."""
        (folder / "objects" / "info" / "alternates").unlink(missing_ok=True)
        for place in (folder / "objects").glob("[0-9a-f][0-9a-f]"):
            remove_tree(place)
        for left in (
            *folder.glob("draft-*"),
            *folder.glob("*index*"),
            folder / LISTING,
            folder / UNCOMMITTED,
        ):
            left.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads many objects through one process."""

    asking: IO[bytes]
    answers: IO[bytes]

    def read(self, oid: str) -> bytes:
        """A blob's bytes, as `copy` writes them."""
        data = BytesIO()
        self.copy(oid, data)
        return data.getvalue()

    def copy(self, oid: str, target: BinaryIO) -> None:
        """Writes a blob's bytes. Raises WorkError when it is not there."""
        try:
            self.asking.write(f"{oid}\n".encode())
            self.asking.flush()
        except OSError as error:
            raise WorkError(f"git could not be asked for {oid}: {error}") from error
        fields = self.answers.readline().split()
        if len(fields) != 3 or fields[1] != b"blob":
            hint = "a partial clone has to fetch first: check out the files, then try again"
            raise WorkError(f"the repository does not hold {oid}", hint=hint)
        left = int(fields[2])
        while left:
            from_thread.check_cancelled()
            chunk = self.answers.read(min(left, CHUNK))
            if not chunk:
                raise WorkError(f"git ended in the middle of {oid}")
            left -= len(chunk)
            target.write(chunk)
        self.answers.read(1)


def borrow(objects: Path, stores: Iterable[Path]) -> None:
    """Lets a repository read others' objects."""
    info = objects / "info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_bytes(b"".join(_quoted(os.fsencode(store)) + b"\n" for store in stores))


def _lines(entries: Mapping[str, Blob]) -> Iterator[bytes]:
    for path, blob in entries.items():
        yield f"{blob.mode} {blob.oid}\t".encode() + os.fsencode(path) + b"\0"


def _quoted(name: bytes) -> bytes:
    """As a line of `alternates`, which only git itself reads when it is quoted."""
    if b"\n" not in name and not name.startswith((b'"', b"#")):
        return name
    escaped = (b"\\%03o" % byte if byte in b'\n"\\' else bytes([byte]) for byte in name)
    return b'"' + b"".join(escaped) + b'"'
