"""The workshop for footage: from a folder of videos to a dataset that training reads.

Importing this package does nothing.
"""
