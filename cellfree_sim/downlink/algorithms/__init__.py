"""Downlink algorithms, one file each; see `cellfree_sim.downlink.roles.Algorithm`."""
