"""``cellfree doctor``: what this machine offers, and what to mend."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING

from cellfree_sim.cli.commands import Commands, add_json
from cellfree_sim.cli.terminal import DONE, FAILED, show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cellfree_sim.doctor import Finding

_EPILOG = """\
examples:
  cellfree doctor                          what there is, and what to mend
  cellfree doctor --ray                    start a Ray cluster, too, and time it
  cellfree doctor --json

ok: as it should be. note: runs work, but not all of them, or not as well. problem: prevents runs.
Exit status: 0, or 1 where there is a problem. Nothing is changed.
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    doctor = commands.add("doctor", _doctor, "say what this machine offers, and what to mend", _EPILOG)
    doctor.add_argument("--ray", action="store_true", help="start a Ray cluster (or join that at RAY_ADDRESS), too")
    add_json(doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from cellfree_sim.doctor import judge, look

    machine = look()
    findings = judge(machine)
    if arguments.ray:
        from cellfree_sim.doctor.trial import try_ray

        with redirect_stdout(sys.stderr):  # Ray's threads print on stdout, which is for results
            findings.append(try_ray())
    if arguments.json:
        content = {"findings": [asdict(finding) for finding in findings], "machine": asdict(machine)}
        show(json.dumps(content, indent=2))
    else:
        show(report(findings))
    return FAILED if any(finding.status == "problem" for finding in findings) else DONE


def report(findings: Sequence[Finding]) -> str:
    """The findings as text, each remedy below what it mends.

    >>> from cellfree_sim.doctor import Finding
    >>> print(report([Finding("cores", "ok", "2 of 2 usable"), Finding("GPU", "note", "hidden", "unset it")]))
    ok       cores  2 of 2 usable
    note     GPU    hidden
                    → unset it
    <BLANKLINE>
    1 note, no problem
    """
    from cellfree_sim.results.formats import count

    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:8} {finding.what:{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':8} {'':{width}}  → {finding.remedy}")
    words = [finding.status for finding in findings]
    notes, problems = words.count("note"), words.count("problem")
    told = [count(notes, "note")] if notes else []
    told.append(count(problems, "problem") if problems else "no problem")
    return "\n".join([*lines, "", ", ".join(told)])
