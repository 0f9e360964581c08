"""What a run leaves: files, columns and keys, from the glossary that a test holds against real runs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from cellfree_sim.results import glossary, tables
from reference.markdown import code, prose, table

FORMATS = {"string": "text", "int64": "int64", "float64": "float64"}


def files() -> str:
    """The files of a run folder."""
    return table(("File", "What is in it"), [(code(name), prose(words)) for name, words in glossary.FILES.items()])


def table_columns() -> str:
    """The columns of each table, with their types."""
    parts = []
    for name, meanings in glossary.TABLES.items():
        columns: tables.Columns = getattr(tables, name.upper())
        rows = [
            (code(column), FORMATS[kind], meanings[column].unit or "–", prose(meanings[column].words))
            for column, kind in columns.items()
        ]
        title = glossary.FILES[f"{name}.parquet"]
        parts.append(f"### `{name}.parquet`\n\n{title[0].upper()}{title[1:]}.\n\n")
        parts.append(table(("Column", "Type", "Unit", "Meaning"), rows))
    return "\n".join(parts)


def summary_keys() -> str:
    """The keys of summary.json, one table for each of its parts."""
    parts = []
    for section, keys in groupby(glossary.SUMMARY, key=_section):
        title = f"### `{section}`" if section else "### The run"
        parts.append(f"{title}\n\n{_keys({key: glossary.SUMMARY[key] for key in keys})}")
    return "\n\n".join(parts)


def _section(key: str) -> str:
    first = key.partition(".")[0]
    return first if first in ("downlink", "uplink", "backhaul") else ""


def _keys(meanings: Mapping[str, glossary.Meaning]) -> str:
    rows = [(code(key), meaning.unit or "–", prose(meaning.words)) for key, meaning in meanings.items()]
    return table(("Key", "Unit", "Meaning"), rows)
