"""The correction page: one shot at a time, what each source says of it, and what a person says instead."""
