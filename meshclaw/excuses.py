"""Final texts that are no result: empty ones, and those that say that the work was not done.

It looks at the first sentence alone and knows few phrases: a result that is taken for an excuse costs its
user more than an excuse that is left to the task's checks.
"""

from __future__ import annotations

import re

LOOKED_AT = 2_000
"""Characters of the beginning in which the first sentence is looked for."""

_EMPTY_FENCE = re.compile(r"```[\w-]*\s*```")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")
_NOT = r"(?:could not|couldn't|cannot|can't|can not)"
_APOLOGY = (
    r"(?:(?:i am|i'm|we are|we're) (?:\w+ )?(?:sorry|afraid)|sorry|i apologi[sz]e|unfortunately|regrettably"
    r"|as an ai(?: language)?(?: model| assistant)?)"
)
_END = r"(?=\Z|,| (?:because|since|as|due to|without|(?:in|within|with|at) (?:the|this|my|time)\b))"
_UNDONE = (
    rf"(?:(?:(?:i|we) )?(?:unable to|not able to|{_NOT}|failed to|did not manage to|didn't manage to)"
    r"|it (?:is|was) (?:not possible|impossible)(?: for (?:me|us))? to)"
    r" (?:complete|finish|do|perform|fulfil+|accomplish|carry out)"
    rf"(?: (?:it|this|that|so|(?:the|this|that|your|my) (?:\w+ )?(?:task|request|assignment|work)))?{_END}"
)
"""Nobody is named, as in a log that a result tells of: only the work itself can be what was not done."""
_SENTENCE = re.compile(
    rf"[\s>*_#\"']*(?:{_APOLOGY}[,.!]?\s+(?:(?:but|that)\s+)?)*(.+?)(?:[.!?]+[\"'*_]*(?:\s|\Z)|\n|\Z)",
    re.IGNORECASE,
)
"""The first one, without the apology before it."""
_EXCUSE = re.compile(
    rf"(?:(?:i|we) {_NOT}"
    r"|(?:i|we) (?:am|are|was|were) (?:not able|unable) to|(?:i|we) (?:wasn't|weren't|aren't) able to"
    r"|(?:i'm|we're) (?:not able|unable) to"
    r"|(?:i|we) (?:have not|haven't) been able to|(?:i|we) (?:will not|won't) be able to"
    r"|(?:i|we) (?:do not|don't) have (?:access|permission|the ability|the tools)"
    r"|i (?:have )?failed to|(?:i|we) (?:did not|didn't|have not|haven't) (?:manage|managed) to"
    rf"|(?:the|this|your) (?:task|job|request|work) {_NOT} be \w+)\b"
    rf"|{_UNDONE}",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"(n/a|none|nil|null|undefined|(?:the |this )?task (?:has )?failed)[.!]*", re.IGNORECASE
)
"""The whole of a text that says nothing, unless the prompt speaks of such an answer."""
_FINDING = re.compile(
    r" (?:find|see|spot|detect|identify|discover|notice|observe) "
    r"(?:any\w*|an?|one|evidence|faults?|problems?|issues?|errors?|bugs?)\b"
    r"| (?:reproduce|recommend|help but|stress|emphasi[sz]e|overstate)\b",
    re.IGNORECASE,
)
"""What goes on after "I could not" in a result: something was looked for and is not there, and figures of
speech."""
_NEVERTHELESS = re.compile(r"\b(?:but|however|instead|nevertheless|nonetheless)\b|[,;] so\b", re.IGNORECASE)


def claims_nothing(text: str, asked: str = "") -> str | None:
    """Why `text` is no result, in one line; None for whatever might be one.

    `asked` is all that was asked for. For results without a stated schema: what fits a schema is judged by
    that alone.
    """
    text = _INVISIBLE.sub("", text).strip()
    if not text or _EMPTY_FENCE.fullmatch(text):
        return "the result is empty"
    word = _NO_ANSWER.fullmatch(text.strip("*_`\"' "))
    if word:
        if re.search(rf"(?<!\w){re.escape(word[1])}(?!\w)", asked, re.IGNORECASE):
            return None
        return f"the result says nothing: {word[1]} (where that is an answer, let the prompt ask for it)"
    first = _SENTENCE.match(text[:LOOKED_AT].replace("\u2019", "'"))
    sentence = re.sub(r"\s+", " ", first[1]) if first else ""
    excuse = _EXCUSE.match(sentence)
    if excuse is None or _FINDING.match(sentence, excuse.end()):
        return None
    if _NEVERTHELESS.search(sentence, excuse.end()):
        return None
    shown = sentence if len(sentence) <= 120 else f"{sentence[:120]}..."
    return f"the result says that the work was not done: {shown}"
