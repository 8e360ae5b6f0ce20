"""Adapters: attaching, saving, loading and describing them. The only door to peft; knows no data and no loop."""
