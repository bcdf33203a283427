"""When a trial is ended early: rules about its metrics as they come in.

A rule names a metric, a value, a comparison and a step. It is applied when the metric is reported for the
`start_step`th time, and only then; without a step, every time. For the objective what counts is its best value so far.
In Katib all rules of a trial must have come true (`need_all`); the rungs of ASHA and the steps of the median rule are
alternatives.
Source: Katib v1beta1 file metrics collector (updateStopRules).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.trial.collector.lines import Measured, finite


@dataclass(frozen=True)
class Rule:
    """One early stopping rule."""

    metric: str
    value: float
    comparison: str
    """equal, less or greater."""
    start_step: int = 0

    def holds(self, value: float) -> bool:
        """Say whether the trial's value makes the rule true."""
        match self.comparison:
            case "less":
                return value < self.value
            case "greater":
                return value > self.value
        return value == self.value

    def __str__(self) -> str:
        step = f" at step {self.start_step}" if self.start_step else ""
        return f"{self.metric} {self.comparison} than {self.value:g}{step}"

    @classmethod
    def read(cls, written: dict[str, Any]) -> Rule:
        """Read a rule as a Trial's spec holds it."""
        return cls(
            str(written["name"]),
            float(written["value"]),
            str(written["comparison"]),
            int(written.get("startStep") or 0),
        )


@dataclass
class Rules:
    """The rules of one trial, and how far it has come."""

    objective: str
    maximize: bool
    pending: list[Rule]
    need_all: bool = True
    steps: dict[str, int] = field(default_factory=dict)
    best: float | None = None

    def heed(self, measured: Iterable[Measured]) -> Rule | None:
        """Take values in; return the rule that ends the trial."""
        for metric, text, _ in measured:
            value = finite(text)
            if value is None:
                continue
            self.steps[metric] = step = self.steps.get(metric, 0) + 1
            if metric == self.objective:
                better = self.best is None or (value > self.best if self.maximize else value < self.best)
                self.best = value = value if better or self.best is None else self.best
            for rule in [each for each in self.pending if each.metric == metric]:
                if (not rule.start_step or rule.start_step == step) and rule.holds(value):
                    self.pending.remove(rule)
                    if not self.need_all or not self.pending:
                        return rule
        return None
