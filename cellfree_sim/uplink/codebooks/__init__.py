"""Codebooks of the uplink, one module each."""
