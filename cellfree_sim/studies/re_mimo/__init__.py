"""Pratik, Rao and Welling, "RE-MIMO: Recurrent and Permutation Equivariant Neural MIMO Detection" (2020): its figures.

Claims are judged by symbol error rates, paired over the same slots. What the paper calls "MMSE" and "V-BLAST" is here
what its curves show (`mmse-as-published`, `zf-pic`). Every plot of error rates has two lines that the paper has not:
expectation propagation (30 iterations, damping 0.7), which needs no training, and K-best with 64 survivors, near
maximum likelihood. The learned detectors are those shipped, far smaller than the paper's RE-MIMO; one without trained
weights for a problem is left out, and the claims about it stay undecided.
"""
