"""The trace that this host begins for a request that is in none: recorded only where spans can be sent somewhere."""

import subprocess
import sys

import pytest

SHOWN = "from zeroflow.knative.local.serving.headers import traceparent; print(traceparent().decode())"


@pytest.mark.parametrize(
    ("environment", "flags"),
    [({}, "00"), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "01")],
    ids=["no-collector", "collector"],
)
def test_flags(environment, flags):
    done = subprocess.run([sys.executable, "-c", SHOWN], env=environment, capture_output=True, text=True, check=True)
    version, trace, span, given = done.stdout.strip().split("-")
    assert (version, given) == ("00", flags)
    assert (len(trace), len(span)) == (32, 16)
