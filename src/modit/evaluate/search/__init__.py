"""The task `search`: a text gives items; judged lists and recall in the whole catalogue."""
