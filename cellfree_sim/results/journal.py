"""What a run has recorded, in step with its checkpoints: both go forward together, and back together.

Rounds, bursts and books since the last commit are provisional. `commit` writes them to the tables and saves the states
of all stations with the number of rows written, so that whatever happens next, the run can go back to a moment at which
states, metrics and books agree: `rollback` forgets what came since, and a resumed run begins with the rows of its
checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellfree_sim.backhaul.ledger import Books, unpack_entries
from cellfree_sim.errors import RunFolderError
from cellfree_sim.results.checkpoints import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellfree_sim.results.run_folder import RunFolder


class Journal:
    """Tables, books and checkpoints of one run.

    Args:
        folder: the run folder.
        checkpoint: where to go on from; None for a new run.
        uplink: whether there is one, whose bursts have a table of their own.
    """

    def __init__(self, folder: RunFolder, checkpoint: Checkpoint | None = None, *, uplink: bool = False) -> None:
        notes: Mapping[str, Any] = checkpoint.notes if checkpoint else {}
        self.books = Books()
        if checkpoint:
            self.books.restore(notes["books"])
        self._checkpoints = Checkpoints(folder.checkpoints_path)
        self._metrics = folder.metrics_writer(keep=notes.get("metrics_rows", 0))
        self._frames = folder.backhaul_writer(keep=notes.get("backhaul_rows", 0))
        self._uplink = folder.uplink_writer(keep=notes.get("uplink_rows", 0)) if uplink else None
        self._provisional: list[dict[str, Any]] = []
        self._provisional_bursts: list[dict[str, Any]] = []

    def add_rounds(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rounds that were closed; they count from the next commit on."""
        self._provisional += rows

    def add_bursts(self, rows: Iterable[dict[str, Any]]) -> None:
        """Bursts that are over; they count from the next commit on."""
        self._provisional_bursts += rows

    def commit(
        self, step: int, ledgers: Iterable[bytes], states: Mapping[str, bytes], notes: Mapping[str, Any]
    ) -> None:
        """Write what came since the last commit, and save the states that belong to it.

        Raises:
            RunFolderError: the disk is full or not writable; the checkpoint before is unchanged.
        """
        self.record(ledgers)
        written = {"books": self.books.state(), "metrics_rows": self._metrics.rows, "backhaul_rows": self._frames.rows}
        if self._uplink is not None:
            written["uplink_rows"] = self._uplink.rows
        self._checkpoints.save(step, states, {**notes, **written}, bursts=notes.get("bursts", 0))

    def record(self, ledgers: Iterable[bytes]) -> None:
        """Write what came since the last commit, without a checkpoint: for a run that ends here."""
        for ledger in ledgers:
            self.books.feed(ledger)
        for row in self._provisional:
            self._metrics.append(row)
        self._provisional.clear()
        self._frames.extend(self.books.take_rows())
        self._metrics.flush()
        self._frames.flush()
        if self._uplink is not None:
            for row in self._provisional_bursts:
                self._uplink.append(row)
            self._uplink.flush()
        self._provisional_bursts.clear()

    def rollback(self, ledgers: Iterable[bytes]) -> Checkpoint:
        """Forget what came since the last commit, and return its checkpoint.

        `ledgers` are the books of the stations that live, since that commit. The frames in them are going to be sent
        again, and so the books count them as retransmissions.
        """
        self._provisional.clear()
        self._provisional_bursts.clear()
        frames = {(entry.sender, entry.sequence): entry.bytes for ledger in ledgers for entry in unpack_entries(ledger)}
        self.books.retransmissions["frames"] += len(frames)
        self.books.retransmissions["bytes"] += sum(frames.values())
        checkpoint = self._checkpoints.latest()
        if checkpoint is None:
            raise AssertionError("a run commits before it trains")
        if checkpoint.skipped:  # what is in memory belongs to the one that is damaged
            raise RunFolderError(f"{checkpoint.skipped[0]}; go on from the one before with: cellfree run --resume")
        return checkpoint

    def close(self) -> None:
        """Finish the tables; frames of which one entry is missing are written as unmatched."""
        self._frames.extend(self.books.take_rows(final=True))
        self._metrics.close()
        self._frames.close()
        if self._uplink is not None:
            self._uplink.close()
