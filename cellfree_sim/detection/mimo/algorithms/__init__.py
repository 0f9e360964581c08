"""The mathematics of the MIMO detectors, as functions of tensors; the options are one level up and import no torch."""
