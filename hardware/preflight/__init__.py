"""What chip and board would refuse, and what rounding costs."""
