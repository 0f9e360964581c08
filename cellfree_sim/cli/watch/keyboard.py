"""Keys of a terminal, one by one, while something else is drawn on it."""

from __future__ import annotations

import codecs
import os
import select
import sys
import termios
import tty
from contextlib import suppress
from typing import Any

ESCAPE, ENTER, BACKSPACE, UP, DOWN, CLEAR = "escape", "enter", "backspace", "up", "down", "clear"
_SEQUENCES = {"\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN}
_NAMES = {"\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\x08": BACKSPACE, "\x15": CLEAR, "\t": DOWN}


class Keyboard:
    """Reads keys without waiting for a line; Ctrl-C stays a signal.

    Args:
        descriptor: of the terminal; standard input by default.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def listen(self) -> None:
        """Let keys come one by one, and be silent on the screen."""
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor, termios.TCSADRAIN)

    def leave(self) -> None:
        """Let the terminal be as it was before `listen`; safe to call at any time."""
        if self._before is not None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def read(self, timeout_s: float) -> list[str]:
        """Keys that were pressed, after waiting so long for the first: characters, or names such as `ENTER`.

        Raises:
            EOFError: the terminal is gone.
        """
        if not select.select([self._descriptor], [], [], timeout_s)[0]:
            return []
        try:
            data = os.read(self._descriptor, 1024)
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return keys_in(self._decoder.decode(data))


def keys_in(text: str) -> list[str]:
    r"""The keys in what a terminal sent.

    >>> keys_in("i7\x1b[A\x7f\r"), keys_in("\x1b"), keys_in("\x1b[5~x")
    (['i', '7', 'up', 'backspace', 'enter'], ['escape'], ['x'])
    """
    keys, at = [], 0
    while at < len(text):
        letter = text[at]
        if letter != "\x1b":
            keys.append(_NAMES.get(letter, letter))
            at += 1
            continue
        end = at + 1
        if end < len(text) and text[end] in "[O":
            end += 1
            while end < len(text) and not "@" <= text[end] <= "~":
                end += 1
            end += 1
            if (name := _SEQUENCES.get(text[at:end])) is not None:
                keys.append(name)
        else:
            keys.append(ESCAPE)
        at = end
    return [key for key in keys if len(key) > 1 or key.isprintable()]
