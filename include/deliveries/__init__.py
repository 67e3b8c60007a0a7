"""What is done with a batch, part by part: files for a platform, rows for a table, a callable of one's own."""
