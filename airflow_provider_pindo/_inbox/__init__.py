"""Read what Pindo lists: pages and the cursor, patterns, and the pause between two looks."""
