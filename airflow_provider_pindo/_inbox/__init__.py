"""Read Pindo's inbound list: pages and cursors, patterns, and the pause between two polls."""
