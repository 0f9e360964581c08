"""The two sides of DMTSSL (Algorithm 2): `station` at each SBS, `coordinator` at the MBS, `objective` on both."""
