"""The publisher's repository on the hub, over HTTP; a broken connection is taken up where it broke."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshclaw.errors import ExitCode
from meshclaw.models.catalogue import LocalModel
from meshclaw.models.partial import Partial, PullError

if TYPE_CHECKING:
    import httpx2

STALL = 30.0
"""Seconds without a byte after which a connection counts as broken."""


class HubError(PullError):
    """The hub could not be reached, or does not have the file."""

    exit_code = ExitCode.PROVIDER


def fetch_from_hub(base_url: str, model: LocalModel, partial: Partial) -> None:
    """Completes `partial`. As long as each connection brings bytes, a broken one is followed by another.

    Raises HubError when one brings none.
    """
    import httpx2

    url = f"{base_url.rstrip('/')}/{model.repository}/resolve/main/{model.file}"
    with httpx2.Client(follow_redirects=True, timeout=STALL) as client:
        while not partial.complete:
            before = partial.have
            try:
                _receive(client, url, partial)
                reason = "the connection ended early"
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            if partial.have <= before and not partial.complete:
                raise HubError(
                    f"{url} brings no more bytes ({reason})",
                    hint="pull again to go on where it stopped, or use --mirror or --from FILE",
                )


def _receive(client: httpx2.Client, url: str, partial: Partial) -> None:
    """One connection's worth of bytes. Any encoding but the plain bytes would break the offsets."""
    headers = {"Accept-Encoding": "identity"}
    if partial.have:
        headers["Range"] = f"bytes={partial.have}-"
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            partial.rewind(0)
            raise HubError(
                f"{url} has fewer bytes than were received; they were deleted", hint="pull again"
            )
        if response.status_code not in (200, 206):
            raise HubError(
                f"{url} answered {response.status_code} {response.reason_phrase}".rstrip(),
                hint="check the network and any proxy, or use --mirror or --from FILE",
            )
        if response.status_code == 200:
            partial.rewind(0)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {partial.have}-"):
            raise HubError(f"{url} answered another range than was asked for", hint="pull again")
        # Without a chunk size: gathering chunks would lose what came before a connection breaks.
        for chunk in response.iter_raw():
            partial.write(chunk)
