"""Figures of the DL-mAMPnet paper: activity and data of many devices, without knowledge of their channels.

The paper compares its network with an AMP that diverges and with one covariance method. Beside these stand what mends
AMP (damping, the prior), the maximum a posteriori by coordinate ascent, our unfolded networks, a bound that knows the
states of all other devices, and the line of a detector that finds nobody.
"""
