"""A reconciliation that meets a Conflict starts over, and gives up in the end."""

import pytest

from zeroflow.errors import Conflict
from zeroflow.resources.starting_over import ATTEMPTS, starting_over


@pytest.mark.parametrize(("conflicts", "tried"), [(0, 1), (2, 3), (ATTEMPTS - 1, ATTEMPTS)])
def test_it_starts_over_until_nobody_wrote_in_between(conflicts: int, tried: int) -> None:
    calls: list[int] = []

    def once() -> str:
        calls.append(1)
        if len(calls) <= conflicts:
            raise Conflict("somebody else wrote")
        return "done"

    assert (starting_over(once), len(calls)) == ("done", tried)


def test_it_gives_up_when_others_keep_writing() -> None:
    calls: list[int] = []

    def once() -> None:
        calls.append(1)
        raise Conflict("somebody else wrote")

    with pytest.raises(Conflict):
        starting_over(once)
    assert len(calls) == ATTEMPTS
