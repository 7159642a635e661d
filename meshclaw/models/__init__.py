"""Models: their names and aliases, what is there to use, and the embedded models' files."""

from meshclaw.models.catalogue import CATALOGUE, DEFAULT_LOCAL, LocalModel, find
from meshclaw.models.detect import SUGGESTED, Detected, Probe, detect, probe_http
from meshclaw.models.fetch import FromFile, FromHub, FromMirror, Progress, Source, pull
from meshclaw.models.names import resolve_alias, split
from meshclaw.models.partial import PullError
from meshclaw.models.store import ModelStore, StoredModel

__all__ = [
    "CATALOGUE",
    "DEFAULT_LOCAL",
    "SUGGESTED",
    "Detected",
    "FromFile",
    "FromHub",
    "FromMirror",
    "LocalModel",
    "ModelStore",
    "Probe",
    "Progress",
    "PullError",
    "Source",
    "StoredModel",
    "detect",
    "find",
    "probe_http",
    "pull",
    "resolve_alias",
    "split",
]
