"""A small assembler for seccomp filters in classic BPF: blocks that each end in an answer.

No jump leaves its block, so every rule can be read by itself. A block sees the accumulator as the one
before it left it.
"""

from __future__ import annotations

import errno
import struct

ALLOW = 0x7FFF_0000
KILL = 0x8000_0000
ASK = 0x7FC0_0000
"""The process that holds the filter's listener decides."""


def fail(code: int) -> int:
    """The answer of a call that fails with this errno."""
    return 0x0005_0000 | code


REFUSE = fail(errno.EPERM)
MISSING = fail(errno.ENOSYS)

_LOAD, _MASK, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`."""

Instruction = tuple[int, int, int, int]
Code = list[Instruction]


def program(audit: int, rules: Code) -> bytes:
    """An array of `struct sock_filter`: `rules` see the call's number; other architectures are killed."""
    code = [_load(_MACHINE), *when(audit, [_load(_NUMBER), *rules]), answer(KILL)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def answer(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def when(value: int, then: Code) -> Code:
    """`then`, which must end in an answer, when the accumulator is `value`; else what follows."""
    return [(_IF_EQUAL, 0, len(then), value), *then]


def at_least(value: int, then: int) -> Code:
    return [(_IF_AT_LEAST, 0, 1, value), answer(then)]


def argument(index: int) -> Instruction:
    """Loads the low half of an argument, all that the kernel looks at where this is used."""
    return _load(_ARGUMENTS + 8 * index)


def mask(bits: int) -> Instruction:
    return (_MASK, 0, 0, bits)


def any_bit(index: int, bits: int, then: int, otherwise: int) -> Code:
    """One answer when an argument has any of `bits`, another when it has none."""
    return [argument(index), (_IF_ANY_BIT, 0, 1, bits), answer(then), answer(otherwise)]


def both(index: int, bits: int, then: Code) -> Code:
    """`then`, which must end in an answer, when an argument has any of `bits`; else it is allowed."""
    return [argument(index), (_IF_ANY_BIT, 0, len(then), bits), *then, answer(ALLOW)]


def none_of(index: int, *values: int) -> Code:
    """Refused when an argument is one of `values`."""
    code = [argument(index)]
    for value in values:
        code += when(value, [answer(REFUSE)])
    return [*code, answer(ALLOW)]


def one_of(index: int, *values: int, bits: int = 0xFFFF_FFFF) -> Code:
    """Refused unless an argument, of which `bits` count, is one of `values`."""
    code = [argument(index), mask(bits)]
    for value in values:
        code += when(value, [answer(ALLOW)])
    return [*code, answer(REFUSE)]


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)
