"""How many tasks of one scope run side by side."""

import os
from collections.abc import Mapping

from zeroflow.errors import InvalidInput

PLACES = "ZEROFLOW_SCOPE_PLACES"


def from_environment(environment: Mapping[str, str] | None = None) -> int:
    """Read ZEROFLOW_SCOPE_PLACES: iterations of a loop that sets no limit, or tasks of any other scope; at least 1.

    More than keeps the steps busy would only wait in a longer queue, and the steps of other runs behind them. Raises
    InvalidInput for anything else.
    """
    told = (os.environ if environment is None else environment).get(PLACES, "32")
    if not told.isdigit() or int(told) < 1:
        raise InvalidInput(f"{PLACES} must be a whole number, at least 1, got {told!r}")
    return int(told)
