"""How a benchmark prints: the median to quote, the spread, and a ratio to a peer."""

import statistics
from collections.abc import Sequence


def line(label: str, samples: Sequence[float], unit: str) -> None:
    """Print median, minimum, maximum and count of what was measured."""
    spread = f"min {min(samples):.1f}, max {max(samples):.1f}, {len(samples)} samples"
    print(f"{label:<26}{statistics.median(samples):9.1f} {unit:<10}  ({spread})")


def ratio(slower: Sequence[float], faster: Sequence[float]) -> None:
    """Print the ratio of two medians."""
    print(f"{'ratio':<26}{statistics.median(slower) / statistics.median(faster):9.1f} x")
