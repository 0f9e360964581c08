"""What a service is asked, and how a batch of such requests becomes calls of its detector.

Shape letters: S slots, R antennas, N users, M messages of a user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellfree_sim.errors import DetectorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellfree_sim.detection.serving.queue import Formed
    from cellfree_sim.detection.serving.receptions import Reception
    from cellfree_sim.detection.serving.service import Services

VALUES_AT_ONCE = 2**22
"""Complex numbers of the channels (or of what was received, if that is more) in one call, about; 32 MiB."""


@dataclass(frozen=True, eq=False)
class Request:
    """A burst at one place, the noise on each antenna of power 1: for MIMO, y = H x + noise.

    Other families have other shapes (their `Reception` says which); the first axis of y is the slots in all of them.

    Attributes:
        burst: number of the burst.
        users: numbers of the users that are decided for, int32 [N] ascending.
        y: received signals, complex64 [S, R].
        h: channels, the same in all slots, complex64 [R, N].
        at_s: simulated time of arrival at the service, seconds.
    """

    burst: int
    users: NDArray[np.int32]
    y: NDArray[np.complex64]
    h: NDArray[Any]
    at_s: float

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"burst": self.burst, "users": self.users, "y": self.y, "h": self.h, "at_s": self.at_s}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Request:
        """The request that `state` was taken from."""
        return cls(**state)


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        request: what was asked.
        logits: log-probabilities float32 [S, N, M]; None where the service refused.
        queue_s, compute_s: from arrival to the batch, and the batch's time; their sum leads to `ended_s`.
        flops: that it took.
        refusal: why, where it was refused.
    """

    request: Request
    logits: NDArray[np.float32] | None
    queue_s: float
    compute_s: float
    flops: float
    refusal: str = ""

    @property
    def ended_s(self) -> float:
        """When the answer is there, simulated seconds."""
        return self.request.at_s + self.queue_s + self.compute_s


def flops_of(reception: Reception, services: Services, service: int, request: Request) -> float:
    """Operations that a request takes; none for one that the service cannot serve, which is refused in its batch."""
    try:
        return services.flops(reception.model(service, request.burst), len(request.y), *reception.sizes(request))
    except DetectorError:
        return 0.0


def answered(reception: Reception, services: Services, service: int, batch: Formed[Request]) -> list[Answer]:
    """The answers to the requests of a batch, in their order; `service` is the index of the service.

    Requests for one model with as many antennas and users are detected together. Where the detector refuses them
    each is asked alone, so that one that cannot be served takes no other along.
    """
    alike: dict[tuple[str | int, ...], list[int]] = {}
    for index, request in enumerate(batch.items):
        key = (reception.model(service, request.burst), *request.y.shape, *request.h.shape)
        alike.setdefault(key, []).append(index)
    found: dict[int, NDArray[np.float32] | str] = {}
    for (model, *_), indices in alike.items():
        for part in _parts(indices, batch.items[indices[0]]):
            requests = [batch.items[index] for index in part]
            found.update(zip(part, _detected(reception, services, str(model), requests), strict=True))
    answers = []
    for index, request in enumerate(batch.items):
        queue_s, compute_s = batch.begun_s - request.at_s, batch.ended_s - batch.begun_s
        logits = found[index]
        if isinstance(logits, str):
            answers.append(Answer(request, None, queue_s, compute_s, 0.0, refusal=logits))
        else:
            answers.append(Answer(request, logits, queue_s, compute_s, flops_of(reception, services, service, request)))
    return answers


def _parts(indices: list[int], request: Request) -> list[list[int]]:
    """The requests `indices`, all like `request`, in parts of which each call takes one."""
    size = max(1, VALUES_AT_ONCE // (len(request.y) * max(request.h.size, request.y[0].size)))
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _detected(
    reception: Reception, services: Services, service: str, requests: Sequence[Request]
) -> list[NDArray[np.float32] | str]:
    """Log-probabilities of requests of one shape; the reason for those that are refused."""
    try:
        return list(_called(reception, services, service, requests))
    except DetectorError as error:
        if len(requests) == 1:
            return [str(error)]
    return [found for request in requests for found in _detected(reception, services, service, [request])]


def _called(
    reception: Reception, services: Services, service: str, requests: Sequence[Request]
) -> list[NDArray[np.float32]]:
    """One call of the service, or several where one request alone is too long."""
    slots = len(requests[0].y)
    y, h, noise = reception.stacked(requests)
    owner = np.repeat(np.arange(len(requests)), slots)
    step = max(1, VALUES_AT_ONCE // max(h[0].size, y[0].size))
    parts = [
        services.detect(service, y[at : at + step], h[owner[at : at + step]], noise[owner[at : at + step]])
        for at in range(0, len(y), step)
    ]
    logits = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return list(logits.reshape(len(requests), slots, *logits.shape[1:]))
