"""How fast the provider is, beside the fastest plain Python that does the same: ``make bench``."""
