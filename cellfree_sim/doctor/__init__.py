"""What this machine offers to a run, and what to mend: ``cellfree doctor``.

    machine, packages ──► facts ──► findings        `look` reads, `judge` decides, neither changes anything

`look` takes the places that it reads from (a root folder, an environment, a working folder), and `judge` takes facts
only, so that machines that are not at hand can be put to both.
"""

from __future__ import annotations

from cellfree_sim.doctor.findings import Finding, judge
from cellfree_sim.doctor.machine import Machine, look

__all__ = ["Finding", "Machine", "judge", "look"]
