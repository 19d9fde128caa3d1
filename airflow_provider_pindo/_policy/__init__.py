"""May a message go out now, and to this person? Used by every face that sends."""
