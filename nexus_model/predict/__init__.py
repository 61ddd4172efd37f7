"""State -> answer."""
