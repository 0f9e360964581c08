"""Policy networks: torch modules, apart from the options that choose them (`cellfree_sim.downlink.policies`)."""
