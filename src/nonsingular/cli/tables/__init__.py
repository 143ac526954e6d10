"""What the commands show: one table a file."""
