"""The contracts of extensions as checks: what a detector, a channel model, a loss scheme, a policy … promises.

The same checks are run by ``cellfree check-extension`` over classes of anybody, and by this project's own tests over
everything that is registered:

>>> from cellfree_sim.conformance import checked
>>> from cellfree_sim.scenario.extensions import LOSS_SCHEMES
>>> results = checked("loss_schemes", LOSS_SCHEMES.create("penalty"))
>>> {result.status for result in results}
{'pass'}
"""

from __future__ import annotations

from cellfree_sim.conformance.checks import Check, Result, Subject, checked, checks_of

__all__ = ["Check", "Result", "Subject", "checked", "checks_of"]
