"""Probes of system calls: what each says where it is refused, and where it is not."""

from __future__ import annotations

import os

NEW_USER, NEW_NS = 0x10000000, 0x00020000

PROBES = """
import ctypes, errno, fcntl, mmap, os, pty, signal, socket, sys, termios

libc = ctypes.CDLL(None, use_errno=True)
page = ctypes.create_string_buffer(4096)

def call(function, *arguments):
    ctypes.set_errno(0)
    got = function(*arguments)
    return "ok" if got != -1 else errno.errorcode[ctypes.get_errno()]

def raw(number, *arguments):
    words = [number, *arguments, 0, 0, 0]
    return call(libc.syscall, *map(ctypes.c_long, words))

def family(number, kind=socket.SOCK_DGRAM, protocol=0):
    try:
        socket.socket(number, kind, protocol).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

def terminal(request):
    ours, theirs = pty.openpty()
    os.setsid()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    return call(libc.ioctl, theirs, ctypes.c_ulong(request), ctypes.c_char_p(b"x"))

def vector(address, length):
    return ctypes.addressof((ctypes.c_size_t * 2)(address, length))

def trace():
    child = os.fork()
    if not child:
        signal.pause()
    try:
        return call(libc.ptrace, 0x4206, child, None, None)
    finally:
        os.kill(child, signal.SIGKILL)

def memory(function):
    here = ctypes.addressof(page)
    ours, theirs = (ctypes.c_size_t * 2)(here, 8), (ctypes.c_size_t * 2)(here + 64, 8)
    arguments = [ctypes.c_ulong(1), ctypes.byref(theirs), ctypes.c_ulong(1), ctypes.c_ulong(0)]
    return call(function, os.getpid(), ctypes.byref(ours), *arguments)

def code(text):
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(bytes.fromhex(text))
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    return "ok" if ctypes.CFUNCTYPE(ctypes.c_int)(start)() == os.getpid() else "other"

def mode(function):
    try:
        function()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

def handle():
    page[0:4] = (128).to_bytes(4, "little")
    mount = ctypes.c_int()
    return call(libc.name_to_handle_at, -100, b"/tmp", page, ctypes.byref(mount), 0)

os.open("/tmp/f", os.O_CREAT)
print(eval(sys.argv[1]))
"""

IS_X86 = os.uname().machine == "x86_64"
_CLONE = 56 if IS_X86 else 220
_PIVOT = 155 if IS_X86 else 41
_KEYCTL = 250 if IS_X86 else 219
_ADD_KEY = 248 if IS_X86 else 217
_REQUEST_KEY = 249 if IS_X86 else 218
_BPF = 321 if IS_X86 else 280
_PERF = 298 if IS_X86 else 241
_FAULTS = 323 if IS_X86 else 282
_KCMP = 312 if IS_X86 else 272
MODULE = 313 if IS_X86 else 273
KEXEC = 246 if IS_X86 else 104
HANDLE = 304 if IS_X86 else 265

OURS = "ctypes.addressof(page)"
ATTACKS = {
    "ptrace": ("trace()", "EPERM", "ok"),
    "new user namespace": (f"call(libc.unshare, {NEW_USER})", "EPERM", "ok"),
    "new mount namespace": (f"call(libc.unshare, {NEW_NS})", "EPERM", "ok"),
    "clone with a namespace": (f"raw({_CLONE}, {NEW_USER} | 17)", "EPERM", "ok"),
    "join a namespace": ("call(libc.setns, -1, 0)", "EPERM", "EBADF"),
    "openat2": ("raw(437, -1, 0, 0, 0)", "ENOSYS", "EINVAL EFAULT"),
    "memfd_create": ("call(libc.memfd_create, b'x', 0)", "ENOSYS", "ok"),
    "chmod": ("mode(lambda: os.chmod('f', 0o4755))", "EPERM", "ok"),
    "fchmod": ("mode(lambda: os.fchmod(os.open('f', 0), 0o2755))", "EPERM", "ok"),
    "fchmodat": ("mode(lambda: os.chmod('f', 0o4755, dir_fd=os.open('.', 0)))", "EPERM", "ok"),
    "fchmodat2": ("call(libc.syscall, 452, -100, b'f', 0o4755, 0)", "EPERM", "ok ENOSYS"),
    "open": ("mode(lambda: os.open('g', os.O_CREAT, 0o4755))", "EPERM", "ok"),
    "a file without a name": ("mode(lambda: os.open('.', os.O_TMPFILE | 1, 0o4755))", "EPERM", "ok"),
    "mknod": ("mode(lambda: os.mknod('g', 0o104755))", "EPERM", "ok"),
    "clone3": ("raw(435, 0, 0)", "ENOSYS", "EINVAL"),
    "io_uring_setup": (f"raw(425, 1, {OURS})", "ENOSYS", "ok"),
    "io_uring_enter": ("raw(426, -1)", "ENOSYS", "EBADF"),
    "io_uring_register": ("raw(427, -1)", "ENOSYS", "EBADF EINVAL"),
    "mount": ("call(libc.mount, b'none', b'/tmp', b'tmpfs', 0, None)", "EPERM", "ok"),
    "umount2": ("call(libc.umount2, b'/none', 0)", "EPERM", "ENOENT"),
    "pivot_root": (f"raw({_PIVOT}, 0, 0)", "EPERM", "EFAULT"),
    "fsopen": ("call(libc.syscall, 430, b'tmpfs', 0)", "EPERM", "ok"),
    "open_tree": ("call(libc.syscall, 428, -100, b'/tmp', 1)", "EPERM", "ok"),
    "move_mount": ("raw(429, -1, 0, -1)", "EPERM", "EFAULT EBADF"),
    "mount_setattr": ("raw(442, -1, 0, 0)", "EPERM", "EINVAL EFAULT"),
    "keyctl": (f"raw({_KEYCTL}, 0, -1, 1)", "EPERM", "ok"),
    "add_key": (f"raw({_ADD_KEY}, 0, 0, 0)", "EPERM", "EFAULT"),
    "request_key": (f"raw({_REQUEST_KEY}, 0, 0, 0)", "EPERM", "EFAULT"),
    "process_vm_readv": ("memory(libc.process_vm_readv)", "EPERM", "ok"),
    "process_vm_writev": ("memory(libc.process_vm_writev)", "EPERM", "ok"),
    "pidfd_getfd": ("raw(438, -1, 0)", "EPERM", "EBADF"),
    "kcmp": (f"raw({_KCMP}, os.getpid(), os.getpid())", "EPERM", "ok"),
    "bpf": (f"raw({_BPF}, 99, 0, 0)", "EPERM", "EINVAL EFAULT"),
    "perf_event_open": (f"raw({_PERF}, 0, 0, 0)", "EPERM", "EFAULT EINVAL"),
    "userfaultfd": (f"raw({_FAULTS}, 1)", "EPERM", "ok"),
    "name_to_handle_at": ("handle()", "EPERM", "ok EOPNOTSUPP"),
    "personality": ("call(libc.personality, ctypes.c_ulong(0x40000))", "EPERM", "ok"),
    "TIOCSTI": ("terminal(0x5412)", "EPERM", "ok EIO"),
    "TIOCSTI with high bits": ("terminal(0x7_0000_5412)", "EPERM", "ok EIO"),
    "AF_ALG": ("family(38, socket.SOCK_SEQPACKET)", "EPERM", "ok EAFNOSUPPORT"),
    "AF_VSOCK": ("family(40, socket.SOCK_STREAM)", "EPERM", "ok EAFNOSUPPORT"),
    "AF_PACKET": ("family(17, socket.SOCK_RAW)", "EPERM", "ok EAFNOSUPPORT"),
    "AF_NETLINK of the firewall": ("family(16, socket.SOCK_RAW, 12)", "EPERM", "ok EPROTONOSUPPORT"),
    "32-bit entry": ("code('b814000000cd80c3')", "SIGSYS", "ok SIGSEGV"),
    "x32": ("raw(0x40000000 | 39)", "SIGSYS", "ok ENOSYS"),
}
"""By name: the probe, what it says under the filter, and what it may say without."""
