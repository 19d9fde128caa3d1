"""HTTP below the hooks: one module for each client, and what both share."""
