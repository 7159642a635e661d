"""Results that are none: empty ones and excuses; and real ones that only look like it."""

from __future__ import annotations

import pytest

from meshclaw.excuses import claims_nothing


@pytest.mark.parametrize("text", ["", "  \n\t", "\u200b\ufeff \u2060", "```\n```", "```json\n\n```\n"])
def test_an_empty_result_is_none(text: str) -> None:
    assert claims_nothing(text) == "the result is empty"


@pytest.mark.parametrize(
    "text",
    [
        "I could not.",
        "I could not fix the tests.",
        "I couldn\u2019t find the root cause.",
        "> **I cannot do that.**",
        "I'm unable to help with this request.",
        "I was unable to complete the task because the file is missing.",
        "I am not able to run commands here",
        "We were not able to\nfinish.",
        "I have not been able to finish this yet.",
        "I'm sorry, but I can't assist with that.",
        "Sorry, I can't do this!",
        "I\u2019m very sorry. I could not open the file.",
        "Unfortunately, I could not do so. The tests still fail.",
        "As an AI language model, I cannot run tests.",
        "I don't have access to the repository.",
        "The task could not be completed.",
        "This request cannot be fulfilled.",
        "I COULD NOT DO IT",
        "Unable to complete the task.",
        "Could not complete the task.",
        "Cannot complete the requested task because the file is missing.",
        "Unable to complete the task within the given limits.",
        "Not able to do this without the log.",
        "Failed to finish.",
        "Failed to do so",
        "It was not possible to do this.",
        "It is impossible for me to complete this task.",
        "I failed to do this.",
        "I failed to fix the bug.",
        "I did not manage to fix it.",
        "We didn't manage to get it to work.",
        "Unfortunately, unable to complete the task.",
    ],
)
def test_an_excuse_is_no_result(text: str) -> None:
    reason = claims_nothing(text)
    assert reason is not None
    assert reason.startswith("the result says that the work was not done: ")
    assert "\n" not in reason


@pytest.mark.parametrize(
    "text",
    [
        "Fixed the test. I could not find out who wrote it.",
        "I could not find any problems in the diff.",
        "I cannot see a fault here; all paths are covered.",
        "I can't recommend merging this: the lock is never given back.",
        "I could not use grep, so I read the files; the bug is mended.",
        "I could not run the tests, but the cause is clear: an off-by-one in page().",
        "I could not reproduce the failure in 100 runs.",
        "Cannot connect to redis at 02:14; the pool is exhausted.",
        "Unable to open /etc/app.conf: permission denied.",
        "The service could not be reached from 02:00 to 02:10.",
        "The work could be done by one person.",
        "# Report\n\nI could not ask the database.",
        "-",
        "0",
        "```\nx\n```",
        "Icould not",
        "The build failed to finish.",
        "Failed to finish: the disk of ci-3 was full at 02:10.",
        "Failed to complete checkout for 3 of 40 users.",
        "Failed to complete the request: 503 from upstream.",
        "Failed to complete the task 'sync': worker 3 ran out of memory.",
        "Could not do the migration of users.",
        "Unable to perform a rebase while files are staged.",
        "Cannot do that in one query: the planner reads the table twice.",
        "I failed to find any mistakes.",
        "I did not manage to reproduce it: the test passes 100 times.",
        "We failed to notice the outage for 20 minutes.",
        "Complete the task list when a job fails",
        "Fail the task when its input is missing",
        "Task failed: no space left on device",
        "The task failed because the disk was full.",
        "None of the changes breaks a contract.",
        "Null is returned where the key is missing.",
        "No findings. I looked at the three files that the change touches.",
        "Root cause: the pool is exhausted.",
        "### Fixed\n- Exports no longer fail to finish.",
    ],
)
def test_what_might_be_a_result_is_left_to_the_checks(text: str) -> None:
    assert claims_nothing(text) is None


@pytest.mark.parametrize(
    "text", ["N/A", "n/a.", "None", "none.", "null", "`null`", "Task failed.", "**Nil**"]
)
def test_a_word_for_nothing_is_a_result_where_it_was_asked_for(text: str) -> None:
    reason = claims_nothing(text, "List the files that hold no_nulls.")
    assert reason is not None
    assert "let the prompt ask for it" in reason
    assert claims_nothing(text, "List them, or say none, nil, null, n/a or task failed.") is None


def test_a_long_excuse_is_shown_shortened_and_a_long_text_takes_no_long_time() -> None:
    reason = claims_nothing("I could not do it because " + "x" * 100_000)
    assert reason is not None
    assert len(reason) < 200
    assert claims_nothing("sorry " * 100_000 + "no") is None
    assert claims_nothing(" " * 1_000_000 + "x") is None
    assert claims_nothing("*" * 1_000_000 + "none") is not None
    assert claims_nothing("unable to do this " + "the " * 100_000) is None
