"""Figures and tables of the SICNN paper: learned signatures and cancellation by networks for grant-free NOMA.

Its channel is taken as flat (with independent fading on each sample signatures would not matter but for their
amplitudes), its SNR as that of one user on the energy of its signature. Beside its receivers stand those that it leaves
out: cancellation in the order of reliability, K-best, and exact maximum a posteriori.
"""
