"""The proxy's address inside a sandbox: a socket that listens there and is accepted from here.

It is made inside, by a few lines of Python that then become the command's shell, and its descriptor is
handed out: nothing of ours keeps running beside the command, and no file stands for the way out.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import Process, SocketListener

from meshclaw.sandbox.base import Refused
from meshclaw.sandbox.mounts import interpreter
from meshclaw.sandbox.proxy import Internet, Proxy

Watch = Callable[[Process], Awaitable[str]]

PORT = 3128
"""On 127.0.0.1 of the command's own network, which has no other listener yet."""

_PROGRAM = """
import _socket as s, os, sys
port, out, *shell = sys.argv[1:]
door = s.socket(s.AF_INET, s.SOCK_STREAM)
door.bind(("127.0.0.1", int(port)))
door.listen(128)
out = s.socket(fileno=int(out))
out.sendmsg([b"1"], [(s.SOL_SOCKET, s.SCM_RIGHTS, door.fileno().to_bytes(4, sys.byteorder))])
out.close()
os.execv(shell[0], shell)
"""


class Doorway:
    """One command's way to `hosts`. `handed` is the descriptor that the command must inherit."""

    def __init__(self, hosts: Sequence[str], internet: Internet, stack: contextlib.ExitStack) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._ours = stack.enter_context(ours)
        self.handed = stack.enter_context(theirs).fileno()
        self._proxy = Proxy(hosts, internet)
        self._opened = False

    @property
    def refused(self) -> tuple[Refused, ...]:
        return self._proxy.refused

    def argv(self, shell: list[str]) -> list[str]:
        """Makes the socket inside, then becomes `shell`."""
        return [str(interpreter()), "-I", "-S", "-c", _PROGRAM, str(PORT), str(self.handed), *shell]

    def beside(self, watch: Watch) -> Watch:
        """`watch`, with the way open for as long as it lasts."""

        async def both(process: Process) -> str:
            async with anyio.create_task_group() as group:
                group.start_soon(self._serve)
                reason = await watch(process)
                group.cancel_scope.cancel()
            return reason

        return both

    def opened(self) -> bool:
        """Whether the socket was made. For the end: a command can be over before it is served."""
        if not self._opened:
            with contextlib.suppress(BlockingIOError):
                self._receive().close()
                self._opened = True
        return self._opened

    async def _serve(self) -> None:
        await anyio.wait_readable(self._ours)
        listener = await SocketListener.from_socket(self._receive())
        self._opened = True
        await self._proxy.serve(listener)

    def _receive(self) -> socket.socket:
        """Raises BlockingIOError when nothing has come."""
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
        return socket.socket(fileno=descriptors[0])


def variables() -> dict[str, str]:
    """What makes programs use the proxy, but not for servers that run inside."""
    address, none = f"http://127.0.0.1:{PORT}", "localhost,127.0.0.1,::1"
    both = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": none}
    return {**both, **{name.lower(): value for name, value in both.items()}, "NODE_USE_ENV_PROXY": "1"}
