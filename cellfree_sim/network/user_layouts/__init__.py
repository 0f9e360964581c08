"""Layouts of users; one module each (see `cellfree_sim.network.base.UserLayout`)."""
