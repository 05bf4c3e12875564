"""Traces by OTLP over http: OpenTelemetry's only home. Loaded only where an endpoint is set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runyard.services.tracing import NONE, Attributes, Tell, Traces

EXPORT_SECONDS = 5
FLUSH_MILLISECONDS = 3000
CARRIED = TraceContextTextMapPropagator()


def to(endpoint: str, headers: str, version: str) -> Traces:
    """`headers` are name=value, separated by commas."""
    pairs = (pair.partition("=") for pair in headers.split(",") if "=" in pair)
    return Sent(endpoint, {name.strip(): unquote(value.strip()) for name, _, value in pairs}, version)


class Sent(Traces):
    """Spans are sent in the background, in batches. What can't be sent is dropped, and keeps nobody."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], version: str) -> None:
        resource = Resource.create({"service.name": "runyard", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=dict(headers), timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("runyard", version)

    @contextmanager
    def span(self, name: str, attributes: Attributes = NONE, parent: Mapping[str, str] | None = None) -> Iterator[Tell]:
        context = None if parent is None else CARRIED.extract(parent)
        kind = SpanKind.INTERNAL if parent is None else SpanKind.SERVER
        with self._tracer.start_as_current_span(
            name, context, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:

            def tell(attributes: Attributes = NONE, *, name: str | None = None, failed: bool = False) -> None:
                span.set_attributes(attributes)
                if name is not None:
                    span.update_name(name)
                if failed:
                    span.set_status(Status(StatusCode.ERROR))

            try:
                yield tell
            except BaseException as error:
                tell({"error.type": type(error).__name__}, failed=isinstance(error, Exception))
                raise

    def close(self) -> None:
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()
