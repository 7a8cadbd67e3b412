"""What owners see of their jobs and may do to them."""
