"""Installed distributions against what this project asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

DISTRIBUTION = "cellfree-sim"
EXTRAS = {  # those for users, and what they are for
    "serve": "detectors behind HTTP (Ray Serve)",
    "tensorboard": "TensorBoard event files",
    "metrics": "Prometheus metrics through Ray",
}


@dataclass(frozen=True)
class Package:
    """A distribution that is asked for.

    Attributes:
        name: of the distribution.
        wanted: the versions that do, such as ``>=2.9,<3``; empty for any.
        found: the version that is installed; None where there is none.
        fits: whether it is installed in one of the versions that do.
        extra: the extra that asks for it; empty where every installation needs it.
    """

    name: str
    wanted: str
    found: str | None
    fits: bool
    extra: str = ""


def packages(requirements: Iterable[str] | None = None) -> Sequence[Package]:
    """What the project asks for, by default from the metadata of its own installation; extras for users included.

    >>> [(each.name, each.fits) for each in packages(["numpy>=1", "no-such-thing>=2", "rich<1; extra == 'docs'"])]
    [('numpy', True), ('no-such-thing', False)]
    """
    from packaging.requirements import Requirement

    found = []
    for requirement in (Requirement(text) for text in (asked_for() if requirements is None else requirements)):
        extra = next((name for name in EXTRAS if _only_with(requirement, name)), "")
        always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not always and not extra:
            continue
        version = installed(requirement.name)
        fits = version is not None and requirement.specifier.contains(version, prereleases=True)
        fits = fits and all(_has_extra(requirement.name, part) for part in requirement.extras)
        wanted = ("[" + ",".join(sorted(requirement.extras)) + "]" if requirement.extras else "") + str(
            requirement.specifier
        )
        found.append(Package(requirement.name, wanted, version, fits, extra))
    return found


def asked_for() -> list[str]:
    """The project's requirements as its metadata has them; none where it is not installed."""
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def installed(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _only_with(requirement: object, extra: str) -> bool:
    marker = getattr(requirement, "marker", None)
    return marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})


def _has_extra(name: str, extra: str) -> bool:
    """Whether what an extra of a distribution asks for is installed, in whichever version."""
    from packaging.requirements import Requirement

    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return False
    wanted = [requirement for requirement in map(Requirement, texts) if _only_with(requirement, extra)]
    return all(installed(requirement.name) is not None for requirement in wanted)
