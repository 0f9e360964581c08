"""CMTSSL: the stations upload their channels, the MBS trains one network alone, and decides for all (Algorithm 1)."""
