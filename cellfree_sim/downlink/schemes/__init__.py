"""Loss schemes, one module each."""
