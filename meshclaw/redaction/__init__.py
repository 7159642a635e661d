"""Keeps secrets out of history, files and screens.

Known secrets are found as they are, and as base64 (at each of the three offsets, both alphabets) and
hexadecimal (both cases); all of that also with line breaks in it, and with characters written as URLs,
JSON, HTML or shells write them. Besides them, what looks like a vendor's key is taken out.

What this cannot do: find a secret in an encoding that is not named here (reversed, compressed, in pieces).
"""

from meshclaw.redaction.environment import secrets_in
from meshclaw.redaction.redactor import SHORTEST_SECRET, Redactor
from meshclaw.redaction.spans import REDACTED

__all__ = ["REDACTED", "SHORTEST_SECRET", "Redactor", "secrets_in"]
