"""Networks of the learned receivers and codes of NOMA."""
