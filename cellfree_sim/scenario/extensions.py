"""The registries a scenario chooses from. They lie below the layers that fill them (see `cellfree_sim.registry`)."""

from __future__ import annotations

from typing import Any

from cellfree_sim.registry import Registry

SITE_LAYOUTS: Registry[Any] = Registry("layout of the small base stations", "cellfree_sim.network.site_layouts")
USER_LAYOUTS: Registry[Any] = Registry("layout of the users", "cellfree_sim.network.user_layouts")
TOPOLOGIES: Registry[Any] = Registry("backhaul topology", "cellfree_sim.network.topologies")
CHANNEL_MODELS: Registry[Any] = Registry("channel model", "cellfree_sim.channel.models")
ALGORITHMS: Registry[Any] = Registry("downlink algorithm", "cellfree_sim.downlink.algorithms")
LOSS_SCHEMES: Registry[Any] = Registry("loss scheme", "cellfree_sim.downlink.schemes")
POLICIES: Registry[Any] = Registry("policy network", "cellfree_sim.downlink.policies")
REFERENCES: Registry[Any] = Registry("reference algorithm", "cellfree_sim.downlink.references")
CODEBOOKS: Registry[Any] = Registry("codebook", "cellfree_sim.uplink.codebooks")
DETECTORS: Registry[Any] = Registry("MIMO detector", "cellfree_sim.detection.mimo")
NOMA_DETECTORS: Registry[Any] = Registry("NOMA receiver", "cellfree_sim.detection.noma")
MMTC_DETECTORS: Registry[Any] = Registry("mMTC detector", "cellfree_sim.detection.mmtc")


def detectors_of(family: str) -> Registry[Any]:
    """The detectors of a family of problems: mimo, noma or mmtc. Names may recur in another family.

    >>> detectors_of("mimo") is DETECTORS
    True
    """
    return {"mimo": DETECTORS, "noma": NOMA_DETECTORS, "mmtc": MMTC_DETECTORS}[family]
