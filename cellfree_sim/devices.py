"""Which device torch computes on, from what a scenario asks for and what torch really has."""

from __future__ import annotations

from typing import Literal

from cellfree_sim.errors import ResourceShortError


def choose_device(gpus: float | Literal["auto"]) -> str:
    """Torch device of a process: "cuda" where GPUs are asked for and torch sees one, else "cpu".

    Raises:
        ResourceShortError: GPUs are demanded (not "auto") and torch sees none.

    >>> choose_device(0)
    'cpu'
    """
    if gpus == 0:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if gpus == "auto":
        return "cpu"
    raise ResourceShortError(f"placement asks for {gpus:g} GPU per station, but torch finds none here; use 0 or auto")
