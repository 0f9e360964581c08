"""Event files of TensorBoard, written with its own library (extra ``tensorboard``), without TensorFlow and torch."""

from __future__ import annotations

import math
import struct
import time
from typing import TYPE_CHECKING, Any

from cellfree_sim.errors import RunFolderError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUFFIX = ".cellfree"  # of files that are ours to replace
PATTERN = f"events.out.tfevents.*{SUFFIX}"
EXTRA = "TensorBoard is not installed; it comes with: pip install 'cellfree-sim[tensorboard]'"


def check_installed() -> None:
    """UserError where TensorBoard is missing."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise UserError(EXTRA)


class EventWriter:
    """A new event file in `folder`. `wall_s` of every entry is Unix time, now by default."""

    def __init__(self, folder: Path) -> None:
        """UserError where TensorBoard is missing; RunFolderError where the folder cannot be written."""
        check_installed()
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = EventFileWriter(str(folder), filename_suffix=SUFFIX)
        except OSError as error:
            raise RunFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error

    def scalar(self, tag: str, value: float | None, step: int, wall_s: float | None = None) -> None:
        """A point of a curve; nothing where the value is not finite."""
        if value is not None and math.isfinite(value):
            self._add(step, wall_s, tag=tag, simple_value=float(value))

    def text(self, tag: str, text: str, step: int = 0, wall_s: float | None = None) -> None:
        """Text, as Markdown."""
        from tensorboard.compat.proto.tensor_pb2 import TensorProto

        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
        self._add(step, wall_s, tag=tag, metadata=_plugin("text"), tensor=tensor)

    def image(self, tag: str, png: bytes, step: int, wall_s: float | None = None) -> None:
        """A PNG."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
        self._add(step, wall_s, tag=tag, image=image)

    def settings(self, settings: Mapping[str, Any], curves: Sequence[str], wall_s: float | None = None) -> None:
        """What the run was, for the table of hyperparameters; the last values of `curves` stand beside."""
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

        plain = {name: value for name, value in settings.items() if isinstance(value, bool | int | float | str)}
        at_s = time.time() if wall_s is None else wall_s
        experiment = Experiment(
            hparam_infos=[HParamInfo(name=name) for name in plain],
            metric_infos=[MetricInfo(name=MetricName(tag=tag)) for tag in curves],
            time_created_secs=at_s,
        )
        start = SessionStartInfo(start_time_secs=at_s)
        for name, value in plain.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, str):
                start.hparams[name].string_value = value
            else:
                start.hparams[name].number_value = value
        for tag, content in (
            (metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
            (metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        ):
            self._add(0, at_s, tag=tag, metadata=_plugin(metadata.PLUGIN_NAME, content.SerializeToString()))

    def flush(self) -> None:
        """Hand everything to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _add(self, step: int, wall_s: float | None, **value: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value)])
        at_s = time.time() if wall_s is None else wall_s
        self._writer.add_event(Event(summary=summary, step=step, wall_time=at_s))


def _plugin(name: str, content: bytes = b"") -> Any:
    """Which part of TensorBoard an entry is for."""
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata

    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=name, content=content))
