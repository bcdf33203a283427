"""Spans of predictions at a collector of OpenTelemetry's, in the trace that a caller began."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROWS = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[dict[str, Any], Any]] = []
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                found = ExportTraceServiceRequest.FromString(body)
                with collector._changed:
                    for resource in found.resource_spans:
                        whose = {each.key: each.value.string_value for each in resource.resource.attributes}
                        collector.spans += [(whose, span) for scope in resource.scope_spans for span in scope.spans]
                    collector._changed.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, count: int) -> list[tuple[dict[str, Any], Any]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spans) >= count, 30)
            return list(self.spans)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def told(span: Any) -> dict[str, Any]:
    values = {each.key: each.value for each in span.attributes}
    return {key: value.int_value or value.string_value for key, value in values.items()}


def test_predictions_are_spans_of_their_callers_trace(launcher: Any, iris_model: Any, collector: Collector) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    predictor = launcher.serve(iris_model, "traced/model.joblib", **variables)
    traced = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "one"}
    assert predictor.predict(ROWS, traced).status == 200
    assert predictor.predict({"instances": [[1]]}, {"x-request-id": "bad"}).status == 400
    assert predictor.predict(ROWS, {"traceparent": f"00-{TRACE}-{CALLER}-00"}).status == 200  # not to be recorded
    assert predictor.get("/v1/models").status == 200  # no prediction
    assert predictor.predict(ROWS, {"x-request-id": "last"}).status == 200
    found = {told(span)["zeroflow.request_id"]: (whose, span) for whose, span in collector.wait_for(3)}
    assert set(found) == {"one", "bad", "last"}
    whose, span = found["one"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
    assert span.name == "POST /v1/models/iris:predict"
    assert span.kind == span.SPAN_KIND_SERVER
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert told(span)["http.response.status_code"] == 200
    assert (whose["service.name"], whose["service.version"]) == ("iris", "iris-predictor-00001")
    assert found["bad"][1].trace_id.hex() != TRACE
    assert not found["bad"][1].parent_span_id
    assert told(found["bad"][1])["http.response.status_code"] == 400


def test_what_waits_is_sent_at_the_end(launcher: Any, iris_model: Any, collector: Collector) -> None:
    variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces", "OTEL_SERVICE_NAME": "mine"}
    predictor = launcher.serve(iris_model, "ended/model.joblib", OTEL_BSP_SCHEDULE_DELAY="600000", **variables)
    assert predictor.predict(ROWS).status == 200
    predictor.connection.close()
    predictor.process.terminate()
    ((whose, span),) = collector.wait_for(1)
    assert whose["service.name"] == "mine"
    assert told(span)["zeroflow.model"] == "iris"
    assert predictor.process.wait(30) == 0


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=str)
def test_nothing_is_sent_where_it_is_switched_off(
    launcher: Any, iris_model: Any, collector: Collector, variables: dict[str, str]
) -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables}
    predictor = launcher.serve(iris_model, "silent/model.joblib", **named)
    assert predictor.predict(ROWS).status == 200
    predictor.process.terminate()
    assert predictor.process.wait(30) == 0
    assert collector.spans == []


def test_collector_that_is_gone_changes_no_answer(launcher: Any, iris_model: Any, collector: Collector) -> None:
    predictor = launcher.serve(iris_model, "gone/model.joblib", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert [predictor.predict(ROWS).status for _ in range(50)] == [200] * 50
