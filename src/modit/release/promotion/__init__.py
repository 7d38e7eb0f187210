"""Who becomes the champion: what must hold before, the moves, and what may be forgotten."""
