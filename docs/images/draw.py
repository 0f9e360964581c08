"""Draws the line figures of the manual and the README: ``python docs/images/draw.py``.

Each comes three times: for light and for dark pages, and as one file that follows the reader's setting (README).
"""

from __future__ import annotations

from html import escape
from pathlib import Path

HERE = Path(__file__).parent
LIGHT = {
    "ink": "#1d2733", "soft": "#5b6876", "card": "#ffffff", "edge": "#b9c4cf", "up": "#1f5fa8", "down": "#b4541a",
    "air": "#2f8055", "tint": "#eef4fb",
}  # fmt: skip
DARK = {
    "ink": "#e8edf2", "soft": "#a3b0bd", "card": "#1b222b", "edge": "#4a5765", "up": "#79b4f2", "down": "#f0a06a",
    "air": "#7fd0a4", "tint": "#202b38",
}  # fmt: skip
FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\""
MONO = 'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"'


class Drawing:
    """An SVG whose colours are named, and get their values last."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(title)}" {FONT}>'
        )
        self._parts: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, *, dashed: bool = False, fill: str = "card") -> None:
        """A box with round corners."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="@{fill}" '
            f'stroke="@edge" stroke-width="1.3"{dash}/>'
        )

    def text(
        self, x: float, y: float, words: str, *, size: float = 13, colour: str = "ink", anchor: str = "middle",
        bold: bool = False, mono: bool = False,
    ) -> None:  # fmt: skip
        """A line of words."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="@{colour}"{weight}'
            f" {MONO if mono else ''}>"
            f"{escape(words)}</text>"
        )

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False, width: float = 1.6
    ) -> None:
        """A line that ends in a head."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        bx, by = x2 - 8 * ux, y2 - 8 * uy
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{bx:.1f}" y2="{by:.1f}" stroke="@{colour}" stroke-width="{width}"{dash}/>'
            f'<path d="M{x2} {y2} L{bx - 4 * uy:.1f} {by + 4 * ux:.1f} '
            f'L{bx + 4 * uy:.1f} {by - 4 * ux:.1f} Z" fill="@{colour}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "edge", *, dashed: bool = False) -> None:
        """A line."""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="@{colour}" stroke-width="1.2"{dash}/>'
        )

    def dot(self, x: float, y: float, r: float, colour: str) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x}" cy="{y}" r="{r}" fill="@{colour}"/>')

    def save(self, name: str, *, both: bool = False) -> None:
        """Write the files; with `both` also the one that follows the reader's setting."""
        body = "\n".join(self._parts)
        for scheme, colours in (("light", LIGHT), ("dark", DARK)):
            text = body
            for word, value in colours.items():
                text = text.replace(f"@{word}", value)
            (HERE / f"{name}-{scheme}.svg").write_text(f"{self._head}\n{text}\n</svg>\n", encoding="utf-8")
        if both:
            text = body
            for word in LIGHT:
                text = text.replace(f"@{word}", f"var(--{word})")
            rules = "".join(
                f"{before}svg{{{';'.join(f'--{word}:{value}' for word, value in colours.items())}}}{after}"
                for colours, before, after in ((LIGHT, "", ""), (DARK, "@media(prefers-color-scheme:dark){", "}"))
            )
            (HERE / f"{name}.svg").write_text(
                f"{self._head}\n<style>{rules}</style>\n{text}\n</svg>\n", encoding="utf-8"
            )


def overview() -> None:
    """The network, what is said in it, and what a run leaves."""
    d = Drawing(960, 404, "A cell-free network: users, small base stations, the macro base station, and the run folder")
    tops = (44, 144, 244)
    for index, top in enumerate(tops):
        d.box(150, top, 190, 78)
        d.text(245, top + 21, f"SBS {index}", bold=True)
        d.text(245, top + 40, "policy network", size=12, colour="soft")
        d.text(245, top + 57, "edge services: detectors", size=12, colour="soft")
        d.text(245, top + 71, "own process", size=10.5, colour="soft")
    for x, y, hears in (
        (44, 66, (0,)),
        (84, 112, (0, 1)),
        (36, 176, (1,)),
        (80, 218, (1, 2)),
        (40, 286, (2,)),
        (92, 316, (2,)),
    ):
        for index in hears:
            d.line(x, y, 150, tops[index] + 39, "air", dashed=True)
        d.dot(x, y, 6, "air")
    d.text(66, 22, "users", bold=True)
    d.text(66, 346, "uplink_burst", size=11.5, colour="air", mono=True)
    d.box(150, 344, 190, 46, dashed=True)
    d.text(245, 363, "SBS 3, injected", bold=True)
    d.text(245, 380, "joins while the others learn", size=11.5, colour="soft")
    d.arrow(345, 300, 345, 352, "down", dashed=True)
    d.text(354, 342, "model_transfer", size=11.5, colour="down", anchor="start", mono=True)
    d.box(586, 118, 150, 130)
    d.text(661, 143, "MBS", bold=True)
    d.text(661, 164, "barrier, joint loss,", size=12, colour="soft")
    d.text(661, 180, "gradients at the cut", size=12, colour="soft")
    d.text(661, 204, "fusion of services", size=12, colour="soft")
    d.text(661, 236, "own process", size=10.5, colour="soft")
    for top, y in zip(tops, (150, 178, 206), strict=True):
        d.arrow(340, top + 32, 586, y, "up")
        d.arrow(586, y + 9, 340, top + 44, "down")
    d.text(463, 26, "channel_report   policy_output", size=11.5, colour="up", mono=True)
    d.text(463, 43, "soft_decision   received_signal", size=11.5, colour="up", mono=True)
    d.text(474, 290, "loss_feedback   policy_decision", size=11.5, colour="down", mono=True)
    d.text(474, 307, "detection_result", size=11.5, colour="down", mono=True)
    d.box(392, 350, 356, 42, fill="tint")
    d.text(570, 368, "every frame is bytes (msgpack), entered by its sender", size=12)
    d.text(570, 383, "and by its receiver: the books balance", size=12)
    d.box(792, 62, 148, 262, fill="tint")
    d.text(866, 86, "run folder", bold=True)
    for row, (name, words) in enumerate(
        (("summary.json", "numbers"), ("backhaul.parquet", "one row per frame"),
         ("metrics.parquet", "one row per round"), ("checkpoints/", "go on, bit for bit"),
         ("report.html", "figures, tables"))
    ):  # fmt: skip
        d.text(866, 112 + 43 * row, name, size=12, mono=True)
        d.text(866, 127 + 43 * row, words, size=11.5, colour="soft")
    d.arrow(736, 183, 792, 183, "ink")
    d.save("overview", both=True)


def protocol() -> None:
    """A round of DMTSSL as a sequence diagram."""
    d = Drawing(820, 430, "A training round of DMTSSL")
    lanes = {"SBS 0": 120, "SBS 1": 320, "MBS": 640}
    for name, x in lanes.items():
        d.box(x - 60, 12, 120, 32)
        d.text(x, 33, name, bold=True)
        d.line(x, 44, x, 418, dashed=True)
    for x in (120, 320):
        d.box(x - 82, 62, 164, 50, fill="tint")
        d.text(x, 82, "batch of seed k", size=12)
        d.text(x, 100, "run the own policy", size=12)
    d.arrow(120, 132, 636, 146, "up")
    d.text(132, 127, "channel_report, policy_output (k)", size=11.5, colour="up", mono=True, anchor="start")
    d.arrow(320, 176, 636, 186, "up")
    d.text(345, 171, "channel_report, policy_output (k)", size=11.5, colour="up", mono=True, anchor="start")
    d.box(540, 202, 200, 84, fill="tint")
    d.text(640, 222, "wait for the whole roster", size=12)
    d.text(640, 240, "stack in a fixed order", size=12)
    d.text(640, 258, "joint loss, its gradient", size=12)
    d.text(640, 276, "with respect to each output", size=12)
    d.arrow(636, 302, 324, 314, "down")
    d.arrow(636, 312, 124, 340, "down")
    d.text(340, 298, "loss_feedback (k): gradient, seed k+1", size=11.5, colour="down", mono=True, anchor="start")
    for x in (120, 320):
        d.box(x - 82, 352, 164, 50, fill="tint")
        d.text(x, 372, "backward, optimiser", size=12)
        d.text(x, 390, "k + 1", size=12)
    d.text(640, 330, "loss, sum rate, bytes, simulated", size=11.5, colour="soft")
    d.text(640, 346, "time: a row of metrics.parquet", size=11.5, colour="soft")
    d.save("protocol")


def layers() -> None:
    """The floors of the code."""
    d = Drawing(720, 330, "Layers: imports point downwards only")
    floors = (
        ("cli", "the command line"),
        ("studies · benchmarks", "papers' figures, speed"),
        ("agents", "the network as Ray actors"),
        ("inline · export", "the same roles in one process"),
        ("detection", "detectors, edge services"),
        ("results · downlink · uplink", "roles, problems, report"),
        ("backhaul · channel", "frames, links, books"),
        ("network", "the graph"),
        ("scenario", "what is asked for"),
    )
    for row, (name, words) in enumerate(floors):
        y = 10 + 35 * row
        d.box(20, y, 300, 29, fill="tint" if name == "agents" else "card")
        d.text(36, y + 19, name, anchor="start", mono=True, size=12.5)
        d.text(340, y + 19, words, anchor="start", colour="soft", size=12.5)
    d.arrow(600, 24, 600, 308, "ink")
    d.text(614, 160, "imports", anchor="start", size=12.5)
    d.text(614, 178, "downwards only", anchor="start", size=12.5)
    d.save("layers")


if __name__ == "__main__":
    overview()
    protocol()
    layers()
