"""Scripts that play, and what they do recorded."""
