"""Detectors of the uplink, behind one protocol and one registry."""

from __future__ import annotations

from cellfree_sim.detection.detector import (
    Detection,
    Detector,
    DetectorOptions,
    create_detector,
    list_detectors,
)

__all__ = ["Detection", "Detector", "DetectorOptions", "create_detector", "list_detectors"]
