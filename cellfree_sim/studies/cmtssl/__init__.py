"""Zheng et al., "Learning for cross-layer resource allocation in MEC-aided cell-free networks": its tables and figures.

Claims are judged by sum rates in bit/s/Hz, paired over the same test realisations. The paper's absolute rates were
reached by no single setting: noise is printed as -26 dBm, and positions, numbers of drops and epochs are not given.
"""
