"""What the NOMA receivers compute, on tensors."""
