"""The tables of a run, written while it runs, readable whenever it stops.

A parquet file can be read only after its footer is written, so a killed process would leave nothing. Rows therefore go
to an Arrow stream first (``metrics.parquet.partial``), which can be read up to its last whole batch;
`TableWriter.close` turns it into the parquet file, batch by batch. Memory stays bounded by one batch however long the
run is.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd

# Column names and Arrow types; every type has a neutral value, so a row may leave columns out.
Columns = dict[str, str]

METRICS: Columns = {
    "phase": "string",
    "step": "int64",
    "joint_loss": "float64",
    "sum_rate": "float64",
    "sum_rate_error": "float64",
    "min_rate_satisfied": "float64",
    "power_violation": "float64",
    "simulated_s": "float64",
    "compute_s": "float64",
    "queue_s": "float64",
    "transfer_s": "float64",
    "bytes": "int64",
    "wall_s": "float64",
}
BACKHAUL: Columns = {
    "phase": "string",
    "step": "int64",
    "sequence": "int64",
    "kind": "string",
    "link_class": "string",
    "sender": "string",
    "receiver": "string",
    "path": "string",
    "bytes": "int64",
    "payload_bytes": "int64",
    "sent_s": "float64",
    "arrival_s": "float64",
    "queue_s": "float64",
    "transfer_s": "float64",
    "attempt": "int64",
    "status": "string",
}
UPLINK: Columns = {
    "burst": "int64",
    "service": "string",
    "detector": "string",
    "cooperation": "string",
    "snr_db": "float64",
    "drop": "int64",
    "users": "int64",
    "slots": "int64",
    "symbols": "int64",
    "symbol_errors": "int64",
    "bits": "int64",
    "bit_errors": "int64",
    "blocks": "int64",
    "block_errors": "int64",
    "active": "int64",
    "missed": "int64",
    "false_alarms": "int64",
    "undecided": "int64",
    "requests": "int64",
    "refused": "int64",
    "bytes": "int64",
    "flops": "float64",
    "started_s": "float64",
    "decided_s": "float64",
    "latency_s": "float64",
    "queue_s": "float64",
    "compute_s": "float64",
    "backhaul_s": "float64",
}
RATES: Columns = {"algorithm": "string", "realisation": "int64", "user": "int64", "rate": "float64"}

BATCH_ROWS = 16_384  # that are read at a time

LATER = ("sum_rate_error",)  # columns that tables of older versions lack
NEUTRAL: dict[str, Any] = {"string": "", "int64": 0, "float64": float("nan")}


def _schema(columns: Columns) -> Any:
    import pyarrow as pa

    return pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])


def partial_path(path: Path) -> Path:
    """Where the rows of the table `path` stand until it is closed."""
    return path.with_name(path.name + ".partial")


class TableWriter:
    """Writer of one table; rows can be read from the moment they are flushed.

    Args:
        path: the parquet file that `close` makes. A table that is already there is replaced by then, not before.
        columns: names and types of its columns.
        batch_rows: rows kept in memory at most.
        flush_every_s: rows are handed to the disk at least this often, measured when rows come in.
        keep: rows to keep of the table that is there, from the first on; for a run that is resumed.
    """

    def __init__(
        self, path: Path, columns: Columns, *, batch_rows: int = 4096, flush_every_s: float = 2.0, keep: int = 0
    ) -> None:
        import pyarrow as pa

        self.path = path
        self.columns = columns
        self.rows = 0
        self._schema = _schema(columns)
        self._batch_rows = batch_rows
        self._flush_every_s = flush_every_s
        self._flushed_at = time.monotonic()
        self._pending: dict[str, list[Any]] = {name: [] for name in columns}
        self._waiting = 0
        kept = read_table(path, columns).iloc[:keep] if keep else None
        try:
            self._file = partial_path(path).open("wb")
        except OSError as error:
            raise RunFolderError(f"{partial_path(path)}: cannot be written: {error.strerror or error}") from error
        self._stream: Any = pa.ipc.new_stream(
            self._file, self._schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
        )
        if kept is not None:
            self.extend({name: kept[name].tolist() for name in columns})
            self.flush()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row. Columns left out are empty (NaN, 0, ""); keys that are no column are ignored."""
        for name, kind in self.columns.items():
            value = row.get(name)
            self._pending[name].append(NEUTRAL[kind] if value is None else value)
        self._count(1)

    def extend(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add rows given as columns of equal length. Columns left out are empty; keys that are no column are ignored.

        Raises:
            ValueError: the columns differ in length.
        """
        lengths = {len(columns[name]) for name in self.columns if name in columns}
        if len(lengths) > 1:
            raise ValueError(f"columns of one table must be equally long, found lengths {sorted(lengths)}")
        count = lengths.pop() if lengths else 0
        for name, kind in self.columns.items():
            values = columns.get(name)
            self._pending[name].extend([NEUTRAL[kind]] * count if values is None else values)
        self._count(count)

    def flush(self) -> None:
        """Hand the rows in memory to the disk."""
        import pyarrow as pa

        self._flushed_at = time.monotonic()
        if not self._waiting:
            return
        batch = pa.record_batch(
            [pa.array(self._pending[name], field.type) for name, field in zip(self.columns, self._schema, strict=True)],
            schema=self._schema,
        )
        try:
            self._stream.write_batch(batch)
            self._file.flush()
        except OSError as error:
            raise RunFolderError(f"{self._file.name}: cannot be written: {error.strerror or error}") from error
        for values in self._pending.values():
            values.clear()
        self._waiting = 0

    def close(self) -> None:
        """Finish the parquet file; calling it again does nothing."""
        if self._file.closed:
            return
        self.flush()
        self._stream.close()
        self._file.close()
        _finish(self.path, self._schema)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _count(self, rows: int) -> None:
        self.rows += rows
        self._waiting += rows
        if self._waiting >= self._batch_rows or time.monotonic() - self._flushed_at >= self._flush_every_s:
            self.flush()


def _finish(path: Path, schema: Any) -> None:
    import pyarrow.parquet as pq

    partial = partial_path(path)
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as parquet:
            for batch in _whole_batches(partial):
                parquet.write_batch(batch)
        temporary.replace(path)
        partial.unlink()
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error


def _whole_batches(partial: Path) -> Iterator[Any]:
    """Batches of an Arrow stream up to its end, or to the place where the writer was stopped."""
    import pyarrow as pa

    with partial.open("rb") as file:
        try:
            yield from pa.ipc.open_stream(file)
        except (pa.ArrowInvalid, OSError, EOFError):
            return


def _whole(table: Any, columns: Columns, path: Path) -> Any:
    """The columns of a table in their order; those that older versions did not write are empty.

    Raises:
        RunFolderError: another one is missing.
    """
    import pyarrow as pa

    for name, kind in columns.items():
        if name not in table.column_names:
            if name not in LATER:
                raise RunFolderError(f"{path}: is damaged, it lacks the column '{name}'")
            table = table.append_column(name, pa.array([NEUTRAL[kind]] * len(table), getattr(pa, kind)()))
    return table.select(list(columns))


def read_table(path: Path, columns: Columns) -> pd.DataFrame:
    """The table at `path`, or what an unfinished run left of it; no rows where there is neither.

    Raises:
        RunFolderError: the file is damaged, or is another table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(columns)
    try:
        # Rows of a run that goes on, or was killed, are newer than those of a finished one in the same folder.
        if partial_path(path).exists():
            batches = list(_whole_batches(partial_path(path)))
            table = pa.Table.from_batches(batches) if batches else schema.empty_table()
        elif path.exists():
            table = pq.read_table(path)
        else:
            table = schema.empty_table()
        frame: pd.DataFrame = _whole(table, columns, path).cast(schema).to_pandas()
        return frame
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(f"{path}: is damaged: {' '.join(str(error).split())}") from error


def read_batches(path: Path, columns: Columns) -> Iterator[pd.DataFrame]:
    """As `read_table`, in parts of some thousand rows, so that memory stays bounded however long the table is.

    Raises:
        RunFolderError: the file is damaged, or is another table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(columns)
    try:
        if partial_path(path).exists():
            batches = _whole_batches(partial_path(path))
        elif path.exists():
            batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS)
        else:
            return
        for batch in batches:
            yield _whole(pa.Table.from_batches([batch]), columns, path).cast(schema).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(f"{path}: is damaged: {' '.join(str(error).split())}") from error


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each as a mapping of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def write_table(path: Path, columns: Columns, values: Mapping[str, Sequence[Any]]) -> None:
    """Write a whole table at once, atomically."""
    with TableWriter(path, columns) as writer:
        writer.extend(values)
