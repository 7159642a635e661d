"""Which values of an environment are secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

_NAMED = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|PAT|CREDENTIALS?)(?:_?\d+)?$"
    r"|(?:APIKEY|PASSWORD|TOKEN|SECRET)$"
)
_IN_ADDRESS = re.compile(r"://[^/?#\s@:]*:([^/?#\s@]+)@")


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """Values of variables that are named like a secret, and passwords in addresses."""
    for name, value in environment.items():
        if _NAMED.search(name.upper()):
            yield value
        if found := _IN_ADDRESS.search(value):
            yield found[1]
            yield unquote(found[1])
