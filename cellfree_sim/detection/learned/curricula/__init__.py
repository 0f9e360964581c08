"""What a training section means: the slots of each iteration, and which problems the trained network fits.

One module for each family of problems, named after it, with a class `Curriculum`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from cellfree_sim.detection.learned.curricula.base import Curriculum

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cellfree_sim.scenario.training import DetectorTraining

__all__ = ["Curriculum", "curriculum_class", "curriculum_of", "training_class"]

_SECTIONS = {
    "mimo": "cellfree_sim.scenario.training:MimoTraining",
    "mmtc": "cellfree_sim.scenario.training:MmtcTraining",
    "noma": "cellfree_sim.scenario.training:NomaTraining",
}


def training_class(family: str) -> type[DetectorTraining]:
    """The training section of a family of problems."""
    module, _, name = _SECTIONS[family].partition(":")
    return cast("type[DetectorTraining]", getattr(importlib.import_module(module), name))


def curriculum_of(
    training: DetectorTraining, weights: Mapping[str, NDArray[Any]] | None = None
) -> Curriculum[Any, Any]:
    """What a training section of any family means, and what was learned in it.

    >>> from cellfree_sim.scenario.training import MimoTraining
    >>> curriculum_of(MimoTraining(detector="oampnet2")).problem()
    MimoProblem(n_rx=64, n_tx=16, constellation='qam16', channel='rayleigh', correlation=0.0, correlated='none', \
csi_error=0.0, block=1)
    """
    return curriculum_class(training.family)(training, weights)


def curriculum_class(family: str) -> type[Curriculum[Any, Any]]:
    """The class of a family of problems."""
    return cast("type[Curriculum[Any, Any]]", importlib.import_module(f"{__name__}.{family}").Curriculum)
