"""The command ``cellfree``: run scenarios, change running networks, rebuild reports, measure speed.

Results go to stdout and nothing else does; progress and errors go to stderr. Exit status: 0 done; 1 the run failed; 2
bad usage, scenario or resources, with one clear line; 130 interrupted. Heavy libraries are imported by the command that
needs them, never at start.

One module per group of commands, each with `add_to`, which adds them to the parser, and with their handlers.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cellfree_sim.cli.parser import parse
from cellfree_sim.cli.terminal import DONE, FAILED, INTERRUPTED, complain, reader_is_gone
from cellfree_sim.errors import CellfreeError
from cellfree_sim.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (that of the process by default) and return its exit status."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by torch's threads when they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_freed_memory()
    with suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        arguments = parse(list(sys.argv[1:] if argv is None else argv))
        status: int = arguments.handler(arguments)
        if sys.stdout is not None:  # closed by the caller (>&-)
            sys.stdout.flush()
    except SystemExit as stop:  # --help and --version
        return int(stop.code or DONE)
    except BrokenPipeError:
        return reader_is_gone()
    except KeyboardInterrupt as interrupt:
        complain(f"interrupted; {interrupt}" if str(interrupt) else "interrupted", kind="")
        return INTERRUPTED
    except CellfreeError as error:
        complain(str(error))
        return error.exit_status
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        complain(f"{name}{error.strerror or error}")
        return FAILED
    except Exception as error:
        text = _in_an_extension(error)
        if not text:
            raise
        complain(text)
        return FAILED
    return status


def _in_an_extension(error: Exception) -> str:
    """What failed in code that a scenario named; empty where a traceback is wanted, or the fault is our own."""
    outside = sys.modules.get("cellfree_sim.scenario.outside")  # where it is not loaded, no extension is
    if outside is None or os.environ.get("CELLFREE_TRACEBACK"):
        return ""
    return str(outside.blamed(error))
