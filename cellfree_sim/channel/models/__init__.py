"""Channel models; one module each (see `cellfree_sim.channel.base.ChannelModel`)."""
