"""Tables talk: per-sample state reads its own rows, then everybody else's, again and again."""
