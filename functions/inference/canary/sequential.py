"""Two shares of bad events, compared by a test that may be looked at after every request.

Each arm's mixture martingale for a Bernoulli rate p, M(p) = B(a+s, b+n-s) / B(a, b) / (p^s (1-p)^(n-s)), has mean 1 at
its true rate, whatever stops it (a = b = 1/2). The product of both arms' does, too, however the traffic is split, as
long as the split does not look ahead. The evidence against a hypothesis about both rates is the least product over
the rates that it allows: at most the product at the true ones, so by Ville's inequality it ever exceeds 1/alpha with
probability at most alpha, if the hypothesis is true. The differences that it does not speak against are a confidence
sequence: right at all times at once with probability 1 - alpha.

Sources: Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970);
Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Ann. Stat. 49
(2021); Johari, Pekelis, Walsh, "Always valid inference", Oper. Res. 70 (2022) for its use in A/B tests.
"""

import math
from dataclasses import dataclass

PRIOR = 0.5
"""a and b: Jeffreys' prior, at home with rates near 0."""
_STEPS = 36
"""Halvings of an interval: its end is exact to 1e-10."""
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Count:
    """How many of an arm's events were bad."""

    bad: int = 0
    total: int = 0

    @property
    def rate(self) -> float:
        """The share that was bad; 0 of nothing."""
        return self.bad / self.total if self.total else 0.0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.bad + other.bad, self.total + other.total)


def evidence_worse(canary: Count, stable: Count, margin: float = 0.0) -> float:
    """Return the log evidence against: the canary's rate is at most the stable one's plus `margin`."""
    if canary.rate <= stable.rate + margin:
        return _mixed(canary, stable) - _best(canary, stable)
    return _mixed(canary, stable) - _best_at(canary, stable, margin)


def evidence_better(canary: Count, stable: Count, margin: float = 0.0) -> float:
    """Return the log evidence against: the canary's rate is at least the stable one's plus `margin`."""
    if canary.rate >= stable.rate + margin:
        return _mixed(canary, stable) - _best(canary, stable)
    return _mixed(canary, stable) - _best_at(canary, stable, margin)


def evidence_above(count: Count, bound: float) -> float:
    """Return the log evidence against: the rate is at most `bound`."""
    rate = min(count.rate, bound)
    return _mixture(count) - _likelihood(count, rate)


def difference(canary: Count, stable: Count, alpha: float) -> tuple[float, float]:
    """Return the confidence sequence of canary's rate minus stable's, of level 1 - alpha, as it is now."""
    limit, mixed = math.log(1 / alpha), _mixed(canary, stable)
    found = canary.rate - stable.rate

    def excluded(difference: float) -> bool:
        return mixed - _best_at(canary, stable, difference) >= limit

    return _edge(found, -1.0, excluded), _edge(found, 1.0, excluded)


def _edge(inside: float, outside: float, excluded: object) -> float:
    """Return the last difference on the way from `inside` to `outside` that is not excluded."""
    assert callable(excluded)
    if not excluded(outside):
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _mixed(canary: Count, stable: Count) -> float:
    return _mixture(canary) + _mixture(stable)


def _mixture(count: Count) -> float:
    """Return the log probability of what was seen, the rate being drawn from the prior."""
    good = count.total - count.bad
    return _log_beta(PRIOR + count.bad, PRIOR + good) - _log_beta(PRIOR, PRIOR)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _likelihood(count: Count, rate: float) -> float:
    good = count.total - count.bad
    said = 0.0
    for times, probability in ((count.bad, rate), (good, 1 - rate)):
        if times:
            if probability <= 0:
                return -math.inf
            said += times * math.log(probability)
    return said


def _best(canary: Count, stable: Count) -> float:
    return _likelihood(canary, canary.rate) + _likelihood(stable, stable.rate)


def _best_at(canary: Count, stable: Count, difference: float) -> float:
    """Return the highest log likelihood of rates that differ by exactly `difference`."""
    if difference == 0:
        both = canary + stable
        return _likelihood(canary, both.rate) + _likelihood(stable, both.rate)
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)

    def at(rate: float) -> float:
        return _likelihood(canary, rate + difference) + _likelihood(stable, rate)

    one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    first, second = at(one), at(two)
    for _ in range(_STEPS):  # the log likelihood is concave: golden section
        if first < second:
            low, one, first = one, two, second
            two = low + _GOLDEN * (high - low)
            second = at(two)
        else:
            high, two, second = two, one, first
            one = high - _GOLDEN * (high - low)
            first = at(one)
    return max(first, second, at(low), at(high))
