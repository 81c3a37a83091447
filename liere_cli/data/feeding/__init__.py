"""How items reach the device: gathered or decoded into buffers, ahead of their use."""
