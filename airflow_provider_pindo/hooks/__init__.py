"""The two clients for Pindo, one on ``requests`` and one on ``aiohttp``."""
