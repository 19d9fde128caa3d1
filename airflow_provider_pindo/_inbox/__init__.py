"""Read inbound messages and webhook events: pages, cursors, patterns, and the pause between two polls."""
