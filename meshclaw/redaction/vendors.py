"""What vendors' keys look like. Every pattern takes linear time, whatever the text.

A pattern begins with the letters that it is known by, so that text without them is passed over fast.
Each ends only where no letter or digit follows: taking it out never makes another one visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from meshclaw.redaction.spans import Span

_W = r"[A-Za-z0-9_-]"

# Every lookahead is bounded: text that repeats a key's first letters must not take quadratic time.
TOKENS: dict[str, str] = {
    "sk-ant-": rf"sk-ant-{_W}{{16,}}",
    "sk-": rf"sk-(?<=\bsk-)(?=[\w-]{{0,80}}[0-9])(?=[\w-]{{0,80}}[A-Z]|[\w-]{{40}}){_W}{{20,}}",
    "AKIA": r"AKIA(?<=\bAKIA)[0-9A-Z]{16}\b",
    "ASIA": r"ASIA(?<=\bASIA)[0-9A-Z]{16}\b",
    **{f"gh{kind}_": rf"gh{kind}_(?<=\bgh{kind}_)[A-Za-z0-9]{{30,}}" for kind in "pousr"},
    "github_pat_": r"github_pat_(?<=\bgithub_pat_)[A-Za-z0-9_]{30,}",
    "glpat-": rf"glpat-(?<=\bglpat-){_W}{{20,}}",
    "xox": r"xox(?<=\bxox)[abeposr][.-][A-Za-z0-9.-]{10,}",
    "xapp-": r"xapp-(?<=\bxapp-)[A-Za-z0-9-]{20,}",
    "AIza": rf"AIza(?<=\bAIza){_W}{{35,}}",
    "ya29.": rf"ya29\.(?<=\bya29\.){_W}{{20,}}",
    "GOCSPX-": rf"GOCSPX-(?<=\bGOCSPX-){_W}{{20,}}",
    "hf_": r"hf_(?<=\bhf_)[A-Za-z0-9]{30,}",
    "gsk_": r"gsk_(?<=\bgsk_)[A-Za-z0-9]{30,}",
    "xai-": r"xai-(?<=\bxai-)[A-Za-z0-9]{60,}",
    "npm_": r"npm_(?<=\bnpm_)[A-Za-z0-9]{36,}",
    "pypi-": rf"pypi-(?<=\bpypi-){_W}{{50,}}",
    "dckr_pat_": rf"dckr_pat_(?<=\bdckr_pat_){_W}{{20,}}",
    "dop_v1_": r"dop_v1_(?<=\bdop_v1_)[A-Za-z0-9]{40,}",
    "glsa_": r"glsa_(?<=\bglsa_)[A-Za-z0-9_]{30,}",
    "hvs.": rf"hvs\.(?<=\bhvs\.){_W}{{20,}}",
    "SG.": rf"SG\.(?<=\bSG\.){_W}{{16,}}\.{_W}{{16,}}",
    "sk_live_": r"sk_live_(?<=\bsk_live_)[A-Za-z0-9]{16,}",
    "rk_live_": r"rk_live_(?<=\brk_live_)[A-Za-z0-9]{16,}",
    "whsec_": r"whsec_(?<=\bwhsec_)[A-Za-z0-9+/]{24,}=*",
    "AGE-SECRET-KEY-1": r"AGE-SECRET-KEY-1[A-Za-z0-9]{50,}",
    "AccountKey=": r"AccountKey=[A-Za-z0-9+/]{80,}=*",
    "eyJ": rf"eyJ(?<=\beyJ){_W}{{10,}}\.eyJ{_W}{{10,}}\.{_W}{{10,}}",
    "earer ": r"earer (?<=[Bb]earer )([A-Za-z0-9._~+/-]{20,}=*)",
}
"""Keys of one word, as ASCII patterns; a pattern's group, if it has one, is the key."""

PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?P<open>\Z))", re.DOTALL
)
"""A private key's block. One without an end reaches to the end of the text: `open`, empty, is then set."""
PRIVATE_KEY_BEGIN = "-----BEGIN"


def find_tokens(text: str) -> Iterator[Span]:
    """Where keys of one word stand, in no order."""
    for known_by in TOKENS:
        if known_by in text:
            pattern = _compiled(known_by)
            yield from (found.span(pattern.groups) for found in pattern.finditer(text))


def find_private_keys(text: str) -> Sequence[re.Match[str]]:
    """Matches of PRIVATE_KEY, in order."""
    return list(PRIVATE_KEY.finditer(text)) if PRIVATE_KEY_BEGIN in text else []


@cache
def _compiled(known_by: str) -> re.Pattern[str]:
    """Compiled when it is needed first: all of them together take tens of milliseconds."""
    return re.compile(TOKENS[known_by], re.ASCII)
