"""What the watchers of newsletter platforms share."""
