"""The requests of a run as columns of numbers, which are counted and joined a batch at once."""
