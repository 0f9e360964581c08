"""Networks of the learned mMTC detectors."""
