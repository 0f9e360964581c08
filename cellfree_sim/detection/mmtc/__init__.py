"""Detectors of activity and data of massive machine-type communication."""
