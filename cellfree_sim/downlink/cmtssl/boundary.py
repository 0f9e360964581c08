"""What an MBS that trains alone has to say after a round: nothing, or that the stations are to stop here.

Its training rounds cross no link, so there is no frame to say it with. That a run is stopped belongs to no protocol of
the network either, but to the machinery that runs it: it goes as an envelope without a frame, which no book counts.
"""

from __future__ import annotations

from cellfree_sim.backhaul.bundle import Bundle


def round_is_over(*, hold: bool) -> bytes:
    """The bundle after a training round."""
    bundle = Bundle()
    if hold:
        bundle.add(b"")
    return bundle.pack()


def says_hold(bundle: bytes) -> bool:
    """Whether the MBS asks to stop at this round boundary.

    >>> says_hold(round_is_over(hold=True)), says_hold(round_is_over(hold=False))
    (True, False)
    """
    return any(len(frame) == 0 for frame, _ in Bundle.unpack(bundle))
