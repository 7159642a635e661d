"""What of the machine a contained command sees: an allow-list, never the whole of `/`.

System libraries, and the folders on the operator's PATH with what they resolve to (an interpreter's own
folder, a toolchain). The home folder and the XDG base folders are never bound as a whole.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from meshclaw.frozen import dataclass
from meshclaw.sandbox.toolchains import installation, installations

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
"""Programs and libraries. Where they are links into /usr they are links inside as well."""

ETC = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "inputrc",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "protocols",
    "python3",
    "services",
    "shells",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "xattr.conf",
)
"""What programs read in /etc. Nothing that can hold a key: no hosts, resolv.conf, sudoers, shadow, ..."""

CREDENTIALS = (
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".credentials.json",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
    ".boto",
    ".config/glab-cli",
    ".config/hub",
    ".env",
    ".fly",
    ".oci",
    ".pgpass",
    ".pulumi",
    ".s3cfg",
    ".terraform.d",
    ".terraformrc",
    ".vault-token",
    "access_tokens.db",
    "application_default_credentials.json",
    "auth.json",
    "credentials",
    "credentials.db",
    "credentials.json",
    "credentials.tfrc.json",
    "credentials.toml",
    "credentials.yaml",
    "credentials.yml",
    "gradle.properties",
    "hosts.yml",
    "tokens.json",
    "etc/npmrc",
    "etc/pip.conf",
    "pip.conf",
)
"""Masked beneath every folder that is bound for the operator's PATH or settings."""

SOCKET_DEPTH = 3
"""How far down in such a folder sockets are looked for: whoever serves them is not in the sandbox."""
MAX_FOLDERS = 2_000
"""Folders that are looked at for them."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is bound read-only (`read`, no folder beneath another) and what of it is masked.

    `hidden` is masked too, wherever it turns up. `home` is HOME inside, an empty private folder. `links`
    are the system's links, as name and target.
    """

    home: Path
    read: tuple[Path, ...]
    masked: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def survey(
    environment: Mapping[str, str],
    home: Path,
    project: Path,
    *,
    extra: Iterable[Path] = (),
    hidden: Iterable[Path] = (),
) -> Machine:
    """The Machine that `environment` (the operator's) and the operator's settings describe.

    `extra` are files and folders that the operator adds; `hidden` is what stays masked whatever is bound
    above it: the ledger, the runs, the settings, keys. Our own Python is bound like what is on PATH.
    Looks at the disk; changes nothing.
    """
    home = Path(os.path.realpath(home))
    links = tuple((name, str(Path(name).readlink())) for name in SYSTEM if Path(name).is_symlink())
    linked = {name for name, _ in links}
    system = [Path(name) for name in SYSTEM if name not in linked and Path(name).is_dir()]
    etc = [path for name in ETC if os.path.exists(path := Path("/etc", name))]
    refused = _never(environment, home)
    found = set(installations(environment, home, project, refused, system))
    found |= set(installation(interpreter().parent, refused))
    found |= {Path(os.path.realpath(path)) for path in extra if os.path.exists(path)}
    ours = _outermost(path for path in found if not any(path.is_relative_to(one) for one in system))
    masked = [folder / name for folder in ours for name in CREDENTIALS if os.path.exists(folder / name)]
    masked += [socket for folder in ours for socket in _sockets(folder)]
    asked = {Path(os.path.realpath(path)) for path in extra}
    return Machine(
        home,
        (*system, *etc, *ours),
        tuple(path for path in masked if path not in asked),
        tuple(Path(os.path.realpath(path)) for path in hidden),
        links,
    )


def interpreter() -> Path:
    """Our own Python where it is installed, not the link to it in a virtual environment."""
    usual = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return Path(os.path.realpath(usual if usual.exists() else sys.executable))


def _never(environment: Mapping[str, str], home: Path) -> frozenset[Path]:
    """Folders that are not bound as a whole, and so nothing above them either."""
    named = [environment.get(name, "") for name in environment if name.startswith("XDG_")]
    usual = (".config", ".cache", ".local", ".local/share", ".local/state", ".local/lib")
    roots = [
        home,
        *(home / name for name in usual),
        *(path for path in map(Path, named) if path.is_absolute()),
    ]
    return frozenset(Path(os.path.realpath(root)) for root in roots)


def _sockets(folder: Path) -> Iterator[Path]:
    folders = [folder]
    looked = 0
    for _ in range(SOCKET_DEPTH):
        further: list[Path] = []
        for one in folders[: MAX_FOLDERS - looked]:
            with contextlib.suppress(OSError), os.scandir(one) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        further.append(Path(entry.path))
                    elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                        yield Path(entry.path)
        looked += len(folders)
        folders = further


def _outermost(paths: Iterable[Path]) -> list[Path]:
    kept: list[Path] = []
    for path in sorted(paths):
        if not kept or not path.is_relative_to(kept[-1]):
            kept.append(path)
    return kept
