"""``cellfree watch``: a run that goes on, seen from any terminal, and acted upon."""
