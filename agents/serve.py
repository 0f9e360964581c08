"""A detector behind Ray Serve, with an HTTP face: for callers that are no part of the network. Extra: ``serve``.

    pip install 'cellfree-sim[serve]'

    from agents.serve import serve_detector                          # on a cluster that this process is connected to
    serve_detector("ep", MimoProblem(n_rx=64, n_tx=16), port=8000)

A request is what `numpy.savez` writes of `y`, `h` and `noise_variance` (see `Services.detect`), an answer what
`numpy.save` writes of the log-probabilities. A client, with nothing but numpy:

    body = io.BytesIO()
    numpy.savez(body, y=y, h=h, noise_variance=noise_variance)
    with urllib.request.urlopen("http://127.0.0.1:8000/", body.getvalue()) as answer:
        logits = numpy.load(io.BytesIO(answer.read()))

Status 400 says in one line what is wrong with a request, 413 that it is too long, 503 that too many are waiting. GET
gives the service's numbers as JSON (`EdgeService.stats`). There is no password: let it listen where only those reach it
who may.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agents.edge_service import Arrays, BusyError, EdgeService
from cellfree_sim.errors import DetectorError, UserError

if TYPE_CHECKING:
    from cellfree_sim.detection.detector import DetectorOptions
    from cellfree_sim.scenario.uplink import Queue
    from cellfree_sim.uplink.problem import Problem

MAX_BODY_BYTES = 64 * 2**20
SERVICE = "http"
KEYS = ("y", "h", "noise_variance")


class TooLongError(DetectorError):
    """A body is longer than may be, as it came or when unpacked."""


class Answer(NamedTuple):
    """What goes back over HTTP."""

    status: int
    body: bytes
    media_type: str


class Face:
    """The HTTP face of an edge service that lives in the same process."""

    def __init__(self, detector: dict[str, Any], problem: dict[str, Any], **settings: Any) -> None:
        self._edge = EdgeService({SERVICE: (detector, problem)}, **settings)

    async def answer(self, method: str, body: bytes) -> Answer:
        """The answer to a request; see the module for both."""
        if method == "GET":
            return _text(200, (await self._edge.stats())[SERVICE])
        if method != "POST":
            return _text(405, {"error": f"method: found {method}; allowed: GET, POST"})
        try:
            logits = await self._edge.detect(SERVICE, *read_request(body))
        except TooLongError as error:
            return _text(413, {"error": str(error)})
        except DetectorError as error:
            return _text(400, {"error": str(error)})
        except BusyError as error:
            return _text(503, {"error": str(error)})
        written = io.BytesIO()
        np.save(written, logits, allow_pickle=False)
        return Answer(200, written.getvalue(), "application/octet-stream")

    async def __call__(self, request: Any) -> Any:
        """The same for starlette's objects, which Ray Serve uses."""
        from starlette.responses import Response

        found = await self.answer(request.method, await read_body(request))
        return Response(found.body, found.status, media_type=found.media_type)


async def read_body(request: Any) -> bytes:
    """The body of a starlette request, or its begin if it is too long, whatever its header says of its length."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            break
    return bytes(body)


def read_request(body: bytes) -> Arrays:
    """y, h and noise variance of a request.

    Raises:
        TooLongError: the body is too long.
        DetectorError: it is not what `numpy.savez` wrote of these three arrays.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLongError(f"body: found {len(body)} bytes or more; allowed: at most {MAX_BODY_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:  # a small body can unpack to a large one
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BODY_BYTES:
            raise TooLongError(f"body: found {size} bytes when unpacked; allowed: at most {MAX_BODY_BYTES}")
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise DetectorError(f"body: found no array {', '.join(missing)}; expected {', '.join(KEYS)}")
            y, h, noise = (file[key] for key in KEYS)
    except DetectorError:
        raise
    except Exception as error:  # numpy, zipfile and zlib have many names for a file that is none
        text = f"body: found {len(body)} bytes of something else; expected what numpy.savez wrote of {', '.join(KEYS)}"
        raise DetectorError(text) from error
    if noise.dtype.kind not in "iuf":
        raise DetectorError(f"noise_variance: found {noise.dtype}; expected float32")
    return y, h, float(noise) if noise.ndim == 0 else noise


def serve_detector(
    detector: str | DetectorOptions,
    problem: Problem,
    *,
    queue: Queue | None = None,
    name: str = "detector",
    route: str = "/",
    host: str = "127.0.0.1",
    port: int = 8000,
    replicas: int = 1,
    **resources: Any,
) -> None:
    """Let Ray Serve answer requests to a detector over HTTP, until `ray.serve.delete(name)` or the cluster's end.

    Args:
        detector: its name or options.
        problem: what is sent; requests may have other numbers of antennas and users.
        queue: how each replica makes batches.
        name: of the application.
        route: where it answers, a path.
        host, port: where Serve listens; the first application of a cluster decides.
        replicas: processes that share the requests.
        resources: of each, as Ray's `options` takes them; no CPU by default.

    Raises:
        DetectorError: there is no such detector, or it cannot serve `problem`.
        UserError: the extra is not installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise UserError("Ray Serve is not installed; it comes with: pip install 'cellfree-sim[serve]'") from error
    from cellfree_sim.detection import create_detector
    from cellfree_sim.scenario.outside import loaded_classes
    from cellfree_sim.scenario.uplink import Queue as Default
    from cellfree_sim.uplink.families import described

    options = create_detector(detector, problem).options if isinstance(detector, str) else detector
    chosen = queue or Default()
    face: Any = serve.deployment(Face)
    deployment = face.options(
        name=name,
        num_replicas=replicas,
        max_ongoing_requests=2 * chosen.capacity,
        ray_actor_options={"num_cpus": 0, **resources},
    )
    settings = {"batch": chosen.batch, "deadline_s": chosen.deadline_s, "capacity": chosen.capacity}

    serve.start(http_options={"host": host, "port": port})
    serve.run(
        deployment.bind(options.model_dump(), described(problem), **settings, extensions=loaded_classes()),
        name=name,
        route_prefix=route,
    )


def _text(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(content).encode(), "application/json")
