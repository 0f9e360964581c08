"""Policy networks to choose from: options, one module each. The networks are in `cellfree_sim.downlink.networks`."""
