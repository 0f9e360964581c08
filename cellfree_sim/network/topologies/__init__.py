"""Backhaul topologies; one module each (see `cellfree_sim.network.base.Topology`)."""
