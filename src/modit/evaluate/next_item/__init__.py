"""The task `next_item`: a session is given, and all items are ranked by how likely each one is next."""
