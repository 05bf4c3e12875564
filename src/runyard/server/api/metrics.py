"""What Prometheus reads."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from runyard.server.api import sending
from runyard.server.deps import ToMeasure

router = APIRouter(tags=["system"])


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses=sending("text/plain", "Prometheus's text form"),
)
async def show(desk: ToMeasure) -> Response:
    """Jobs, queue, waits, attempts, GPUs, requests, in figures that name nobody; they are at most five seconds old."""
    return Response(await desk.yard.scrape.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
