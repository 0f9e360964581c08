"""The uplink: what users send, how it reaches the stations, and how many of their messages are understood."""

from __future__ import annotations

from cellfree_sim.uplink.codebook import Codebook
from cellfree_sim.uplink.metrics import ErrorRates, Rate, error_rates
from cellfree_sim.uplink.mimo import MimoProblem
from cellfree_sim.uplink.mmtc import MmtcProblem
from cellfree_sim.uplink.mmtc_metrics import FrameRate, StateRates, state_error_rates
from cellfree_sim.uplink.noma import NomaProblem
from cellfree_sim.uplink.noma_metrics import NomaRates, noma_error_rates
from cellfree_sim.uplink.problem import Batch, Problem

__all__ = [
    "Batch",
    "Codebook",
    "ErrorRates",
    "FrameRate",
    "MimoProblem",
    "MmtcProblem",
    "NomaProblem",
    "NomaRates",
    "Problem",
    "Rate",
    "StateRates",
    "error_rates",
    "noma_error_rates",
    "state_error_rates",
]
