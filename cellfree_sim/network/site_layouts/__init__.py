"""Layouts of small base stations; one module each (see `cellfree_sim.network.base.SiteLayout`)."""
