"""The two ways in to Pindo, one on ``requests`` and one on ``aiohttp``."""
