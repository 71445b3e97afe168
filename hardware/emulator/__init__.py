"""Program → spikes, bit for bit."""
