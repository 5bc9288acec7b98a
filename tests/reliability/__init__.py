"""What a long life asks of a factor: threads, processes, ten thousand solves."""
