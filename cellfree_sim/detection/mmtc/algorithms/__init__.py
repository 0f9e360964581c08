"""What the mMTC detectors compute, on tensors."""
