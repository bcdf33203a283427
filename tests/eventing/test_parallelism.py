"""A trigger may bound how many of its deliveries are under way at once."""

import pytest

from zeroflow.knative.local.eventing.admission import parallelism_of
from zeroflow.knative.local.eventing.errors import InvalidSpec


def metadata(value: str) -> dict:
    return {"annotations": {"zeroflow.dev/parallelism": value}}


def test_the_annotation_is_a_number():
    assert parallelism_of(metadata("8")) == 8
    assert parallelism_of({}) is None


@pytest.mark.parametrize("value", ["0", "-1", "many", "1001", ""])
def test_anything_else_is_refused_naming_the_annotation(value):
    with pytest.raises(InvalidSpec, match=r"zeroflow.dev/parallelism"):
        parallelism_of(metadata(value))
