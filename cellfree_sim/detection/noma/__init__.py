"""Receivers of grant-free NOMA."""
