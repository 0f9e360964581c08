"""What the screen asks before it gives an order: a line to type, with what is wrong with it beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cellfree_sim.cli.live import position
from cellfree_sim.cli.watch.keyboard import BACKSPACE, CLEAR, DOWN, ENTER, ESCAPE, UP
from cellfree_sim.errors import UserError


@dataclass
class Question:
    """A line that is typed; Enter gives it to `answered`, which raises `UserError` where it will not do.

    Attributes:
        prompt: what is asked.
        answered: takes the text.
        choices: what the arrows go through; the first is there already.
        text: typed so far.
        wrong: why the last answer would not do.
        open: it waits for an answer.
    """

    prompt: str
    answered: Callable[[str], None]
    choices: Sequence[str] = ()
    text: str = ""
    wrong: str = ""
    open: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.choices and not self.text:
            self.text = self.choices[0]
        self._chosen = bool(self.choices)  # the text is a choice: typing replaces it

    def press(self, key: str) -> None:
        """A key was pressed."""
        if key == ESCAPE:
            self.open = False
        elif key == ENTER:
            self._answer()
        elif key in (UP, DOWN):
            self._choose(1 if key == DOWN else -1)
        elif key == BACKSPACE:
            self._type(self.text[:-1])
        elif key == CLEAR:
            self._type("")
        elif len(key) == 1:
            self._type(key if self._chosen else self.text + key)

    def _type(self, text: str) -> None:
        self.text, self.wrong, self._chosen = text[:80], "", False

    def _choose(self, step: int) -> None:
        if self.choices:
            place = self.choices.index(self.text) + step if self.text in self.choices else 0
            self.text, self.wrong, self._chosen = self.choices[place % len(self.choices)], "", True

    def _answer(self) -> None:
        try:
            self.answered(self.text.strip())
        except UserError as error:
            self.wrong = str(error)
        else:
            self.open = False


def where_to_inject(area_m: Sequence[float], inject: Callable[[list[float]], None]) -> Question:
    """Ask for a place in the area.

    >>> asked = where_to_inject((100.0, 100.0), print)
    >>> for key in ("7", "5", ",", "5", "0", "0", "enter"):
    ...     asked.press(key)
    >>> asked.prompt, asked.text, asked.wrong
    ('inject at X,Y in metres', '75,500', 'y: found 500; allowed: 0 to 100')
    >>> for key in ("backspace", "enter"):
    ...     asked.press(key)
    [75.0, 50.0]
    """

    def answered(text: str) -> None:
        try:
            place = position(text)
        except UserError:
            raise UserError("allowed: two numbers, such as 75,50") from None
        for axis, metres, most in zip("xy", place, area_m, strict=False):
            if not 0 <= metres <= most:
                raise UserError(f"{axis}: found {metres:g}; allowed: 0 to {most:g}")
        inject(place)

    return Question("inject at X,Y in metres", answered)


def which_to_remove(stations: Sequence[str], remove: Callable[[str], None]) -> Question:
    """Ask for a station.

    >>> asked = which_to_remove(["sbs-0", "sbs-1"], print)
    >>> for key in ("down", "enter"):
    ...     asked.press(key)
    sbs-1
    """

    def answered(text: str) -> None:
        if text not in stations:
            raise UserError(f"there is no station '{text}'; there are {', '.join(stations)}")
        remove(text)

    return Question("remove (arrows choose)", answered, choices=list(stations))


def whether(prompt: str, act: Callable[[], None]) -> Question:
    """Ask for a yes.

    >>> asked = whether("stop the run?", lambda: print("stopped"))
    >>> for key in ("n", "enter"):
    ...     asked.press(key)
    >>> asked.open
    False
    """

    def answered(text: str) -> None:
        if text.lower() in ("y", "yes"):
            act()
        elif text.lower() not in ("", "n", "no"):
            raise UserError("allowed: y or n")

    return Question(f"{prompt} y/n", answered)
