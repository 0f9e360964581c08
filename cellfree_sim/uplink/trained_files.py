"""Where files of trained detectors are, and how they are sealed: what both their detector and their codebook need.

What is in them is the matter of `cellfree_sim.detection.learned.trained`; a learned codebook only asks for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cellfree_sim.backhaul.sealed import Seal
from cellfree_sim.errors import DetectorError
from cellfree_sim.scenario.suggest import did_you_mean, listed, on_one_line

SUFFIX = ".detector"
CODEBOOK = "codebook"
"""Name of the weights that are the codewords that a receiver was trained with: real parts and others, [N, M, K, 2]."""
SEAL = Seal("cellfree-detector", 1, "trained detector", DetectorError)
_SHIPPED = Path(__file__).parents[1] / "trained_detectors"


def shipped_detectors() -> dict[str, Path]:
    """Files of the trained detectors that come with the package, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob(f"*{SUFFIX}"))}


def find_trained(text: str) -> Path:
    """The file that `text` means: a path, or the name of a shipped detector.

    Raises:
        DetectorError: there is neither.
    """
    shipped = shipped_detectors()
    allowed = f"allowed: a file that 'cellfree train' wrote, or {one_of(shipped)}"
    if not text:
        raise DetectorError(f"found '', an empty name; {allowed}")
    try:
        path = Path(text).expanduser()
        if path.is_file():
            return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: there is no such user, as in ~user
        reason = getattr(error, "strerror", None) or str(error)
        raise DetectorError(f"found '{on_one_line(text, 200)}', which cannot be read: {reason}") from None
    if text in shipped:
        return shipped[text]
    raise DetectorError(
        f"found '{on_one_line(text, 200)}', no such file or shipped detector; {allowed}{did_you_mean(text, shipped)}"
    )


def one_of(shipped: Iterable[str]) -> str:
    """Names of shipped detectors, for an error."""
    names = list(shipped)
    return f"one of {listed(names)}" if names else "a shipped one, of which there is none"
