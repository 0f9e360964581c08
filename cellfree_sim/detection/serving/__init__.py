"""Detectors as edge services: at each station, and what the stations and the MBS do with their answers."""
