"""Learned detectors: what they share, their networks, the files that keep them, and the trainer."""
