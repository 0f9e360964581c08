"""The registries a scenario chooses from. They lie below the layers that fill them (see `cellfree_sim.registry`).

Each has a name, which is also the last part of the group of entry points by which other distributions add to it:
``cellfree_sim.policies`` for example.
"""

from __future__ import annotations

from typing import Any

from cellfree_sim.registry import Registry

GROUP = "cellfree_sim."


def _registry(key: str, noun: str, package: str, base: str, family: str = "") -> Registry[Any]:
    made: Registry[Any] = Registry(noun, f"cellfree_sim.{package}", GROUP + key, f"cellfree_sim.{base}", family)
    REGISTRIES[key] = made
    return made


REGISTRIES: dict[str, Registry[Any]] = {}
"""All of them, by name."""

DETECTORS = _registry(
    "mimo_detectors", "MIMO detector", "detection.mimo", "detection.detector:DetectorOptions", family="mimo"
)
NOMA_DETECTORS = _registry(
    "noma_detectors", "NOMA receiver", "detection.noma", "detection.detector:DetectorOptions", family="noma"
)
MMTC_DETECTORS = _registry(
    "mmtc_detectors", "mMTC detector", "detection.mmtc", "detection.detector:DetectorOptions", family="mmtc"
)
CHANNEL_MODELS = _registry("channel_models", "channel model", "channel.models", "channel.base:ChannelModel")
LOSS_SCHEMES = _registry("loss_schemes", "loss scheme", "downlink.schemes", "downlink.scheme:LossScheme")
POLICIES = _registry("policies", "policy network", "downlink.policies", "downlink.policy:Policy")
REFERENCES = _registry("references", "reference algorithm", "downlink.references", "downlink.reference:Reference")
ALGORITHMS = _registry("algorithms", "downlink algorithm", "downlink.algorithms", "downlink.roles:Algorithm")
CODEBOOKS = _registry("codebooks", "codebook", "uplink.codebooks", "uplink.codebook:CodebookOptions")
SITE_LAYOUTS = _registry(
    "site_layouts", "layout of the small base stations", "network.site_layouts", "network.base:SiteLayout"
)
USER_LAYOUTS = _registry("user_layouts", "layout of the users", "network.user_layouts", "network.base:UserLayout")
TOPOLOGIES = _registry("topologies", "backhaul topology", "network.topologies", "network.base:Topology")


def detectors_of(family: str) -> Registry[Any]:
    """The detectors of a family of problems: mimo, noma or mmtc. Names may recur in another family.

    >>> detectors_of("mimo") is DETECTORS
    True
    """
    return REGISTRIES[f"{family}_detectors"]


def kind_of(option: type) -> str:
    """What kind of extension a class is, in words; empty where it is none.

    >>> from cellfree_sim.channel.models.rayleigh import Rayleigh
    >>> kind_of(Rayleigh)
    'channel model'
    """
    return " or ".join(registry.noun for registry in REGISTRIES.values() if registry.fits(option))
