"""Past purchases: whole sessions in size-capped files; what was sent, on the command line."""
