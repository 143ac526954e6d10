"""What is told of finished experiments: read back, judged again, put together, shown as pages."""
