"""Studies: many runs with one question, from a scenario with a sweep to a figure, a table and a verdict.

`cellfree reproduce NAME` runs one. A study is a scenario file below ``scenarios/`` with a ``sweep:``, and a module of
this package that registers what to make of its runs; adding one touches no other file:

    from cellfree_sim.studies.study import Study, register

    def draw(results):                                            # a matplotlib Figure
        from cellfree_sim.results.figures import style

        figure, axes = style.new_figure(style.COLUMN_IN, 2.6)
        for line in ("set", "gsa-zf"):                            # a case of the sweep, a reference of its runs
            curve = results.curve(line, along="network.sbs.count")
            axes.errorbar(curve["at"], curve["mean"], yerr=2 * curve["error"], label=line)
        return figure

    def judge(results):                                           # a verdict on each claim
        numbers = [
            results.difference("set", "gsa-zf", at=at) for at in results.places     # paired over drops
        ]
        return [positive("The set policy is above GSA+ZF for every number of stations.", numbers)]

    register(Study("mine/stations", "Sum rate against the number of stations", draw, judge, scenario="mine/stations"))

The runs go to ``<out>/points``, one folder each, named by the content of its scenario: what is done is never run again,
whichever study asks for it. Figure, table and verdicts go to ``<out>/<name>/<scale>``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellfree_sim.studies.results import Results
    from cellfree_sim.studies.study import Study, find_study, list_studies, register
    from cellfree_sim.studies.verdicts import Number, Verdict, cannot_hold, positive

__all__ = [
    "Number",
    "Results",
    "Study",
    "Verdict",
    "cannot_hold",
    "find_study",
    "list_studies",
    "positive",
    "register",
]

_HOMES = {
    "Results": "results",
    **dict.fromkeys(("Study", "find_study", "list_studies", "register"), "study"),
    **dict.fromkeys(("Number", "Verdict", "cannot_hold", "positive"), "verdicts"),
}


def __getattr__(name: str) -> Any:  # the command line starts quickly, for all commands
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
