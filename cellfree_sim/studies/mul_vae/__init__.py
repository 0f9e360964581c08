"""Figures and the table of the Mul-VAE paper: constellations and receivers of grant-free NOMA, learned together.

All schemes have the same mean energy of a codeword (K on K resources), which printed SCMA codebooks have not; the SNR
is that of one user on one resource. Beside its lines stand what is exact: maximum a posteriori detection, and a code
that was trained through it.
"""
