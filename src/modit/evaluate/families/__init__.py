"""Families of generative retrievers side by side, from runs that exist: what each answers, how well, and its cost."""
