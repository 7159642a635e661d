"""Why a call failed, decided once: HTTP statuses and error bodies become ProviderErrors.

Everything here is pure: it takes plain data, whichever SDK it came from. Bodies are read before
statuses, because providers put billing, policy and context-length refusals under several statuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.frozen import dataclass

QUOTE_LIMIT = 300
"""How much of a server's own words an error message repeats, in characters."""

_STATUS_KINDS: dict[int, FailureKind] = {
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.BILLING,
    403: FailureKind.PERMISSION,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.OVERLOADED,
    413: FailureKind.CONTEXT_TOO_LONG,
    429: FailureKind.RATE_LIMIT,
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}

_CODE_KINDS: dict[str, FailureKind] = {
    "context_length_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "exceed_context_size_error": FailureKind.CONTEXT_TOO_LONG,
    "request_too_large": FailureKind.CONTEXT_TOO_LONG,
    "insufficient_quota": FailureKind.BILLING,
    "billing_error": FailureKind.BILLING,
    "billing_hard_limit_reached": FailureKind.BILLING,
    "billing_not_active": FailureKind.BILLING,
    "contract_spend_limit_reached": FailureKind.BILLING,
    "enforced_spend_limit_reached": FailureKind.BILLING,
    "linked_organization_spend_limit_reached": FailureKind.BILLING,
    "linked_organization_billing_unavailable": FailureKind.BILLING,
    "user_profile_not_billable": FailureKind.BILLING,
    "user_profile_billing_not_authorized": FailureKind.BILLING,
    "content_filter": FailureKind.CONTENT_REFUSED,
    "content_policy_violation": FailureKind.CONTENT_REFUSED,
    "image_content_policy_violation": FailureKind.CONTENT_REFUSED,
    "misalignment_policy_violation": FailureKind.CONTENT_REFUSED,
    "bio_policy": FailureKind.CONTENT_REFUSED,
    "invalid_prompt": FailureKind.CONTENT_REFUSED,
    "invalid_api_key": FailureKind.AUTHENTICATION,
    "model_not_found": FailureKind.NOT_FOUND,
}
"""Codes that name the cause whatever status carries them."""

_TYPE_KINDS: dict[str, FailureKind] = {
    "overloaded_error": FailureKind.OVERLOADED,
    "overloaded": FailureKind.OVERLOADED,
    "server_overloaded": FailureKind.OVERLOADED,
    "conflict_error": FailureKind.OVERLOADED,
    "rate_limit_error": FailureKind.RATE_LIMIT,
    "rate_limit_exceeded": FailureKind.RATE_LIMIT,
    "api_error": FailureKind.SERVER,
    "server_error": FailureKind.SERVER,
    "timeout_error": FailureKind.TIMEOUT,
    "authentication_error": FailureKind.AUTHENTICATION,
    "permission_error": FailureKind.PERMISSION,
    "not_found_error": FailureKind.NOT_FOUND,
    "invalid_request_error": FailureKind.INVALID_REQUEST,
}
"""Broad types, for errors that arrive inside a stream and so have no status of their own."""

_MESSAGE_KINDS: tuple[tuple[str, FailureKind], ...] = (
    (
        r"prompt is too long|maximum context length|context (window|length|size)|input is too long",
        FailureKind.CONTEXT_TOO_LONG,
    ),
    (
        r"credit balance is too low|insufficient (credits|balance|funds)|spend(ing)? limit",
        FailureKind.BILLING,
    ),
    (r"content (management )?policy|usage policy|content filter", FailureKind.CONTENT_REFUSED),
    (r"api key not valid|(invalid|incorrect) api key", FailureKind.AUTHENTICATION),
)
"""Wordings of refusals that have no code of their own; only looked at where nothing says it better."""

_SUMMARIES: dict[FailureKind, str] = {
    FailureKind.RATE_LIMIT: "too many requests",
    FailureKind.OVERLOADED: "overloaded",
    FailureKind.SERVER: "the server failed",
    FailureKind.CONNECTION: "no connection",
    FailureKind.STALLED: "the answer stalled",
    FailureKind.TIMEOUT: "timed out",
    FailureKind.AUTHENTICATION: "not authorised",
    FailureKind.PERMISSION: "the key may not do this",
    FailureKind.NOT_FOUND: "no such model or address",
    FailureKind.INVALID_REQUEST: "the request was refused",
    FailureKind.CONTEXT_TOO_LONG: "the conversation is too long for the model",
    FailureKind.CONTENT_REFUSED: "refused because of its content",
    FailureKind.TRUNCATED: "the answer broke off",
    FailureKind.MALFORMED: "the answer could not be understood",
    FailureKind.BILLING: "the account cannot pay for this call",
}

_HINTS: dict[FailureKind, str] = {
    FailureKind.RATE_LIMIT: "wait, or raise the account's limit",
    FailureKind.OVERLOADED: "try again later, or name another model",
    FailureKind.PERMISSION: "ask the account's owner for access to this model",
    FailureKind.NOT_FOUND: "check the model's name and the provider's base URL",
    FailureKind.CONTEXT_TOO_LONG: "give it fewer or shorter inputs, or another model",
    FailureKind.BILLING: "add credit or raise the spending limit in the provider's console",
}

_POSSIBLY_BILLED_STATUSES = frozenset({504, 524})
"""A gateway gave up waiting; what is behind it may have done, and charged for, the work."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who was asked: names for messages, and how to give this provider a key (`key_hint`)."""

    provider: str
    model: str
    key_hint: str = ""

    def error(
        self,
        kind: FailureKind,
        detail: str = "",
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        billed: bool = False,
    ) -> ProviderError:
        """A ProviderError that names the provider, the model, what happened and what to do."""
        message = f"{self.provider}/{self.model}: {_SUMMARIES[kind]}"
        if http_status is not None:
            message += f" (HTTP {http_status})"
        if detail:
            message += f": {quote(detail)}"
        if hint is None:
            hint = self.key_hint if kind is FailureKind.AUTHENTICATION else _HINTS.get(kind, "")
        return ProviderError(
            kind,
            message,
            hint=hint,
            retry_after=retry_after,
            http_status=http_status,
            request_id=request_id,
            billed=billed,
        )


def http_failure(
    origin: Origin, status: int, headers: Mapping[str, str], body: object, now: float
) -> ProviderError:
    """The failure that an HTTP status other than success stands for. `headers` has lower-case names.

    `now` is the wall clock in seconds since the epoch, for a Retry-After that is a date.
    """
    error_type, code, message = _error_fields(body)
    hint = None
    if 300 <= status < 400:
        kind = FailureKind.INVALID_REQUEST
        message = f"redirected to {headers.get('location', 'another address')}"
        hint = "keys are never sent on to another address: set the provider's base URL to the final one"
    else:
        kind = _kind(status, error_type, code, message)
    return origin.error(
        kind,
        message,
        hint=hint,
        retry_after=parse_retry_after(headers, now),
        http_status=status,
        request_id=headers.get("request-id") or headers.get("x-request-id"),
        billed=status in _POSSIBLY_BILLED_STATUSES,
    )


def stream_failure(origin: Origin, body: object) -> ProviderError:
    """The failure that an error event inside a stream stands for: the call may be billed."""
    error_type, code, message = _error_fields(body)
    status = int(code) if code.isdecimal() and len(code) == 3 else None
    if status is not None:
        kind = _kind(status, error_type, "", message)
    else:
        kind = (
            _CODE_KINDS.get(code)
            or _CODE_KINDS.get(error_type)
            or _TYPE_KINDS.get(code)
            or _TYPE_KINDS.get(error_type)
            or FailureKind.SERVER
        )
        if kind is FailureKind.INVALID_REQUEST:
            kind = _kind_of_message(message) or kind
    return origin.error(kind, message, billed=True)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait, never negative; None when it says nothing intelligible.

    Reads `retry-after-ms` (milliseconds) and `retry-after` (seconds, or an HTTP date, RFC 9110 10.2.3).
    A date is compared with the server's own `date` header where there is one, else with `now`.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return max(0.0, seconds)
    moment = _timestamp(value)
    if moment is None:
        return None
    reference = _timestamp(headers.get("date"))
    return max(0.0, moment - (now if reference is None else reference))


def quote(text: str) -> str:
    """A server's words on one line, at most QUOTE_LIMIT characters."""
    line = " ".join(text[: QUOTE_LIMIT * 4].split())
    return line if len(line) <= QUOTE_LIMIT else line[: QUOTE_LIMIT - 1] + "…"


def _kind(status: int, error_type: str, code: str, message: str) -> FailureKind:
    if kind := _CODE_KINDS.get(code) or _CODE_KINDS.get(error_type):
        return kind
    if status in {400, 403, 422} and (kind := _kind_of_message(message)):
        return kind
    if kind := _STATUS_KINDS.get(status):
        return kind
    return FailureKind.SERVER if status >= 500 else FailureKind.INVALID_REQUEST


def _kind_of_message(message: str) -> FailureKind | None:
    return next(
        (kind for pattern, kind in _MESSAGE_KINDS if re.search(pattern, message, re.IGNORECASE)), None
    )


def _error_fields(body: object) -> tuple[str, str, str]:
    """(type, code, message) out of any provider's error body; "" for what is not there.

    Anthropic: `{"error": {"type", "message", "details": {"error_code"}}}`; OpenAI: `{"error": {"type",
    "code", "message"}}`, already unwrapped by its SDK; Gemini: the same in a list; others: plain text.
    """
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping) and body.get("error"):
        body = body["error"]
    if isinstance(body, Mapping):
        details = body.get("details")
        code = body.get("code")
        if isinstance(details, Mapping) and details.get("error_code"):
            code = details["error_code"]
        return _text(body.get("type")), _text(code), _text(body.get("message"))
    text = body if isinstance(body, str) else ""
    return "", "", "" if _looks_like_html(text) else text


def _looks_like_html(text: str) -> bool:
    start = text[:200].lstrip().lower()
    return start.startswith(("<!doctype", "<html"))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: str | None) -> float | None:
    """A finite decimal number, or None."""
    if value is None or not re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{0,18})?\s*", value, re.ASCII):
        return None
    return float(value)


def _timestamp(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, OverflowError, OSError):
        return None
