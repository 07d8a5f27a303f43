"""The measurement with many clients fails when an event is lost, or when all is far too slow."""

import pytest

from bench import load

QUICK = [[5.0] * 99 + [load.EVENT_GOAL_MS]] * 3


def test_what_reached_everyone_in_time_is_well() -> None:
    load.check([4.0] * 100, dict(enumerate(QUICK)), 100)


@pytest.mark.parametrize(("health_ms", "ways", "words"), [
    (4.0, [*QUICK, []], r"of 4 events 1 did not reach 100 .*\{3: 0\}"),
    (4.0, [*QUICK, [5.0] * 99], r"\{3: 99\}"),
    (4.0, [*QUICK, [5.0] * 101], r"\{3: 101\}"),
    (4.0, [], "of 0 events"),
    (4.0, [*QUICK, [load.FAR * load.EVENT_GOAL_MS + 1] * 100], "events: the p99 is 2001 ms"),
    (load.FAR * load.HEALTH_GOAL_MS + 1, QUICK, "/health: the p99 is 401 ms"),
])  # fmt: skip
def test_what_is_lost_or_far_too_slow_is_an_error(health_ms: float, ways: list[list[float]], words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        load.check([health_ms] * 100, dict(enumerate(ways)), 100)
