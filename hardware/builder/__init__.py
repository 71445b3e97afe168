"""nengo.Network → nengo-loihi's blocks; the only door to nengo_loihi."""
