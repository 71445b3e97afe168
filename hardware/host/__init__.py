"""What runs off the chip, exactly as Nengo does."""
