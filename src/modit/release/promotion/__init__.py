"""Model versions, what is promoted, and how a version is promoted, rejected or rolled back."""
