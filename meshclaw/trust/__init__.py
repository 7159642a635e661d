"""Trust by digest: what the user has allowed which project to make happen."""

from meshclaw.trust.powers import Untrusted, digest, is_hidden, visible
from meshclaw.trust.store import StoreError, Trusted, TrustStore, UntrustedError

__all__ = [
    "StoreError",
    "TrustStore",
    "Trusted",
    "Untrusted",
    "UntrustedError",
    "digest",
    "is_hidden",
    "visible",
]
